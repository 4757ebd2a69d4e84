"""Two of three Historicals are restarted in turn, one of them for longer than a crash is waited for: nothing moves."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from clusters import Cluster, Witness
from main_job import check_figures, count_query, ingest, loaded

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

LONGER_THAN_A_CRASH_S = 12.0  # PT10S is waited after a crash


async def at_rest(cluster: Cluster) -> None:
    """Wait until no Historical has had a request for a while: what is loaded may yet be moved to a better place."""
    quiet = 0

    async def check() -> bool:
        nonlocal quiet
        queues = (await cluster.get("router", "/druid/coordinator/v1/loadqueue?simple")).json()
        quiet = 0 if any(n for queue in queues.values() for n in queue.values()) else quiet + 1
        return quiet > 20

    await cluster.until("the cluster is at rest", check)


async def test_a_rolling_restart_moves_no_segment_and_fails_no_query(
    cluster: Cluster, witness: Witness, connecting: Any
) -> None:
    await cluster.whole(coordinators=1, historicals=3)
    await ingest(cluster)
    await loaded(cluster)
    await at_rest(cluster)
    answers: list[Any] = []

    async def ask() -> None:
        while True:
            answers.append((await cluster.query(count_query()))[0]["result"]["n"])

    async with connecting(cluster.procs["server"].address) as zk, trio.open_nursery() as nursery:
        await nursery.start(witness.watch, zk, "/druid/loadQueue")
        nursery.start_soon(ask)
        for name, pause_s in (("historical-1", 0.0), ("historical-2", LONGER_THAN_A_CRASH_S)):
            proc = cluster.procs[name]
            proc.process.terminate()
            assert await proc.process.wait() == 0
            await trio.sleep(pause_s)
            await cluster.role(name, "historical", "--port", proc.address.rpartition(":")[2])
            await loaded(cluster)
        await zk.sync()
        nursery.cancel_scope.cancel(reason="both are back")
    assert witness.paths("CREATED", "/druid/loadQueue/") == []
    assert set(answers) == {27004}
    await check_figures(cluster)
