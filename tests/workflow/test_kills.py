"""The three kills: the leading Coordinator, a Historical, the coordination server. And a pause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from clusters import Cluster, Parts, open_cluster
from differential.peers import ABSENT as NO_ZOOKEEPER
from differential.peers import real_zookeeper
from main_job import check_figures, count_query, ingest, loaded
from postgres_server import ABSENT as NO_POSTGRES
from postgres_server import postgres_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture(params=["ours", "others"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster on our own server and an SQLite file, and one on ZooKeeper and PostgreSQL."""
    if request.param == "ours":
        async with open_cluster(tmp_path) as ours:
            yield ours
        return
    if NO_ZOOKEEPER or NO_POSTGRES:
        pytest.skip(NO_ZOOKEEPER or NO_POSTGRES)
    with real_zookeeper(tmp_path / "zookeeper") as port, postgres_server() as postgres:
        parts = Parts(coord=f"zk://127.0.0.1:{port}", metadata=postgres.database())
        async with open_cluster(tmp_path, parts) as others:
            yield others


async def leading_coordinator(cluster: Cluster) -> str:
    """The name of the Coordinator that leads."""

    async def find() -> str | None:
        for name, proc in cluster.procs.items():
            if name.startswith("coordinator") and proc.process.returncode is None:
                response = await cluster.http.get(proc.url + "/druid/coordinator/v1/isLeader", timeout=2)
                if response.json() == {"leader": True}:
                    return str(name)
        return None

    return str(await cluster.until("a Coordinator leads", find))


async def test_the_leading_coordinator_is_killed(cluster: Cluster) -> None:
    """The other one leads after the session timeout, and the workflow goes on."""
    await cluster.whole()
    leader = await leading_coordinator(cluster)
    cluster.procs[leader].kill()
    await ingest(cluster)
    await loaded(cluster)
    await check_figures(cluster)
    assert await leading_coordinator(cluster) != leader


async def test_a_paused_coordinator_is_refused_when_it_comes_back(cluster: Cluster) -> None:
    """SIGSTOP past the session timeout: another leads, and what the old one still wants to write is refused."""
    await cluster.whole()
    old = await leading_coordinator(cluster)
    cluster.procs[old].pause()
    await ingest(cluster)
    new = "coordinator-1" if old == "coordinator-2" else "coordinator-2"

    async def other_leads() -> bool:
        response = await cluster.http.get(cluster.procs[new].url + "/druid/coordinator/v1/isLeader")
        return bool(response.json() == {"leader": True})

    await cluster.until("the other Coordinator leads", other_leads)
    cluster.procs[old].resume()
    await loaded(cluster)
    await check_figures(cluster)

    async def stepped_down() -> bool:
        response = await cluster.http.get(cluster.procs[old].url + "/druid/coordinator/v1/isLeader")
        return bool(response.json() == {"leader": False})

    await cluster.until("the old Coordinator has stepped down", stepped_down)
    assert cluster.procs[old].process.returncode is None


async def test_a_historical_is_killed(cluster: Cluster) -> None:
    """Queries stay right all the while, and its segments are loaded on the one that joins."""
    await cluster.whole()
    await ingest(cluster)
    await loaded(cluster)
    cluster.procs["historical-1"].kill()
    for _ in range(20):
        assert (await cluster.query(count_query()))[0]["result"]["n"] == 27004
        await trio.sleep(0.1)
    joined = await cluster.role("historical-3", "historical")

    async def loaded_elsewhere() -> bool:
        response = await cluster.get("router", "/druid/coordinator/v1/servers?simple")
        sizes = {server["host"]: server["currSize"] for server in response.json()}
        return len(sizes) == 2 and sizes.get(joined.address, 0) == sizes.get(cluster.procs["historical-2"].address)

    await cluster.until("the segments are loaded elsewhere", loaded_elsewhere)
    await check_figures(cluster)


@pytest.mark.parametrize("cluster", ["ours"], indirect=True)
async def test_the_coordination_server_is_killed_and_started_again(cluster: Cluster, connecting: Any) -> None:
    """Sessions come back, nothing is lost, nobody restarts, and the work goes on."""
    await cluster.whole()
    await ingest(cluster)
    await loaded(cluster)
    server = cluster.procs["server"]
    async with connecting(server.address) as zk:
        await zk.create("/mine", b"kept", ephemeral=True)
        session = zk.session_id
        before = {name: proc.process.pid for name, proc in cluster.procs.items() if name != "server"}
        segments = {host: await zk.children(f"/druid/segments/{host}") for host in await zk.children("/druid/segments")}
        server.kill()
        await server.process.wait()
        assert (await cluster.query(count_query()))[0]["result"]["n"] == 27004
        await cluster.server(listen=server.address)
        assert (await zk.get("/mine")).data == b"kept"
        assert zk.session_id == session
        after = {host: await zk.children(f"/druid/segments/{host}") for host in await zk.children("/druid/segments")}
        assert after == segments
    await ingest(cluster)  # a newer version of every day
    await loaded(cluster)
    await check_figures(cluster)
    assert all(cluster.procs[name].process.pid == pid for name, pid in before.items())
    assert all(cluster.procs[name].process.returncode is None for name in before)
