"""A Coordinator that is an Overlord too, in one process (Druid's quickstart has it so; #12192 mixed the leaders up)."""

from __future__ import annotations

import pytest
import trio
from clusters import Cluster
from main_job import check_figures, ingest, loaded

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


async def test_the_main_job_with_coordinators_as_overlords(cluster: Cluster) -> None:
    await cluster.server()
    first = await cluster.role("both", "coordinator", "--as-overlord")
    for name, kind in (
        ("historical-1", "historical"),
        ("historical-2", "historical"),
        ("middlemanager", "middlemanager"),
        ("broker", "broker"),
        ("router", "router"),
    ):
        await cluster.role(name, kind, wait=False)
    for proc in list(cluster.procs.values()):
        await cluster.wait_ready(proc)
    cluster.procs["overlord"] = first
    home = (await cluster.get("router", "/")).json()
    assert home["coordinator"]["url"] == home["overlord"]["url"] == first.url
    assert home["coordinator"]["epoch"] != home["overlord"]["epoch"]
    nodes = (await cluster.get("router", "/druid/coordinator/v1/cluster")).json()
    assert nodes["coordinator"][0]["plaintextPort"] == nodes["overlord"][0]["plaintextPort"]
    assert (nodes["coordinator"][0]["service"], nodes["overlord"][0]["service"]) == (
        "druid/coordinator",
        "druid/overlord",
    )
    assert (await cluster.get("both", "/status/selfDiscovered")).status_code == 200
    await ingest(cluster)
    await loaded(cluster)
    await check_figures(cluster)
    second = await cluster.role("both-2", "coordinator", "--as-overlord")
    first.process.terminate()
    assert await first.process.wait() == 0

    async def handed_over() -> bool:
        home = (await cluster.get("router", "/")).json()
        leaders = [home[role] for role in ("coordinator", "overlord")]
        return all(leader is not None and leader["url"] == second.url for leader in leaders)

    await cluster.until("both are led by the other process", handed_over)
    del cluster.procs["overlord"]
    cluster.procs["overlord"] = second
    with trio.fail_after(90):
        await ingest(cluster)
    await loaded(cluster)
    await check_figures(cluster)
