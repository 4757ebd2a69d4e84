"""Restarts that nobody notices: in turn and in order, or by a kill and a quick return."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx2
import pytest
import trio
from clusters import Cluster, Proc, Witness
from main_job import check_figures, count_query, ingest, loaded

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ASKING = 4  # clients at a time


class Load:
    """Clients that ask without a pause, and what became of it."""

    def __init__(self, url: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url = url

    async def run(self) -> None:
        """Ask for ever."""
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http, trio.open_nursery() as nursery:
            for _ in range(ASKING):
                nursery.start_soon(self._ask, http)

    async def _ask(self, http: httpx2.AsyncClient) -> None:
        while True:
            try:
                response = await http.post(self._url + "/druid/v2", json=count_query())
                right = response.status_code == 200 and response.json()[0]["result"]["n"] == 27004
                self.outcomes["right" if right else f"{response.status_code} {response.text[:300]}"] += 1
            except httpx2.HTTPError as fault:
                self.outcomes[repr(fault)] += 1


async def stop_in_order(proc: Proc) -> None:
    """SIGTERM, and wait for the end."""
    proc.process.terminate()
    assert await proc.process.wait() == 0


async def again(cluster: Cluster, old: Proc, kind: str, *more: str) -> Proc:
    """The same process once more: same name, same data directory, same address."""
    return await cluster.role(old.name, kind, "--port", old.address.rpartition(":")[2], *more)


async def restart_in_turn(cluster: Cluster, kind: str, names: tuple[str, ...]) -> Load:
    """Stop and start some processes one after the other while clients ask; what became of their queries."""
    load = Load(cluster.procs["router"].url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        for name in names:
            before = load.outcomes["right"]
            await stop_in_order(cluster.procs[name])
            await again(cluster, cluster.procs[name], kind)
            await loaded(cluster)

            async def some_more(before: int = before) -> bool:
                return load.outcomes["right"] > before + 10

            await cluster.until("queries go on", some_more)
        nursery.cancel_scope.cancel(reason="all have been restarted")
    return load


async def test_two_historicals_restarted_in_turn_fail_no_query(cluster: Cluster) -> None:
    await cluster.whole()
    await ingest(cluster)
    await loaded(cluster)
    load = await restart_in_turn(cluster, "historical", ("historical-1", "historical-2"))
    assert set(load.outcomes) == {"right"}, load.outcomes
    await check_figures(cluster)


async def test_two_brokers_behind_a_router_restarted_in_turn_fail_no_query(cluster: Cluster) -> None:
    await cluster.whole()
    await cluster.role("broker-2", "broker")
    await ingest(cluster)
    await loaded(cluster)
    load = await restart_in_turn(cluster, "broker", ("broker", "broker-2"))
    assert set(load.outcomes) == {"right"}, load.outcomes


async def test_a_historical_that_is_killed_and_back_within_its_session_timeout_does_not_flap(
    cluster: Cluster, witness: Witness, connecting: Any
) -> None:
    """Issue #5882's cure at the root: what never goes need not be loaded elsewhere."""
    await cluster.whole()
    await ingest(cluster)
    await loaded(cluster)
    old = cluster.procs["historical-1"]
    async with connecting(cluster.procs["server"].address) as zk, trio.open_nursery() as nursery:
        before = await zk.get(f"/druid/announcements/{old.address}")
        await nursery.start(witness.watch, zk, "/druid")
        old.kill()
        await old.process.wait()
        await again(cluster, old, "historical", "--session-timeout", "30")
        await zk.sync()
        after = await zk.get(f"/druid/announcements/{old.address}")
        nursery.cancel_scope.cancel(reason="seen")
    assert after.stat == before.stat
    for prefix in ("announcements", "segments", "internal-discovery", "coord/status"):
        for kind in ("CREATED", "DELETED"):
            assert witness.paths(kind, f"/druid/{prefix}") == [], witness.seen
    assert [path for what, path, _ in witness.seen if what != "CHANGED" and "/loadQueue/" in path] == []
    await check_figures(cluster)


async def test_without_coordinators_and_deep_storage_what_is_served_stays_served(cluster: Cluster) -> None:
    """Also over a restart of a Historical, which has its segments on its own disk; and work catches up after."""
    await cluster.whole()
    await ingest(cluster)
    await loaded(cluster)
    for name in ("coordinator-1", "coordinator-2", "overlord"):
        cluster.procs[name].kill()
    deep = cluster.directory / "deep-storage"
    deep.rename(cluster.directory / "away")  # noqa: ASYNC240 - a test's own directory
    deep.mkdir()  # noqa: ASYNC240
    await check_figures(cluster)
    load = Load(cluster.procs["router"].url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await stop_in_order(cluster.procs["historical-1"])
        await again(cluster, cluster.procs["historical-1"], "historical")
        broker = await cluster.role("broker-2", "broker")
        nursery.cancel_scope.cancel(reason="it is back")
    assert set(load.outcomes) == {"right"}, load.outcomes
    assert (await cluster.query(count_query(), "broker-2"))[0]["result"]["n"] == 27004, broker.log
    deep.rmdir()  # noqa: ASYNC240
    (cluster.directory / "away").rename(deep)  # noqa: ASYNC240
    for name, kind in (("coordinator-1", "coordinator"), ("overlord", "overlord")):
        await again(cluster, cluster.procs[name], kind)
    await ingest(cluster)
    await loaded(cluster)
    await check_figures(cluster)
