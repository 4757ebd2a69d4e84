"""A leading Coordinator that is stopped in the middle of an assignment, and goes on when another has long led."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from clusters import SESSION_TIMEOUT_S, Cluster, open_cluster
from fake_historicals import FakeHistorical, fake_historical
from made_segments import make_segment
from scale import scaled

from coordserver.client import Client
from druidroles.coordination.paths import DruidPaths
from druidroles.metadata import LeaderEpoch, Publication, StaleEpochError, TaskRow, open_sqlite_store
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.task import TaskLock

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

SEGMENTS = [make_segment(day, size=10) for day in range(1, 301)]
STOPPED_S = scaled(2 * SESSION_TIMEOUT_S, 60)
OVERLORD = LeaderEpoch(role="overlord", epoch=1)
PATHS = DruidPaths()


async def publish(metadata: Path) -> None:
    """Put the segments into the store, as a task does."""
    async with open_sqlite_store(metadata) as store:
        await store.raise_epoch(OVERLORD)
        row = TaskRow(
            id="t", data_source="flights", type="noop", group_id="t", created_date="2024", payload={}, status={}
        )
        await store.insert_task(OVERLORD, row)
        attempt = await store.begin_attempt(OVERLORD, "t", "worker")
        assert attempt is not None
        span = Interval(0, 40_000 * MS_PER_DAY)
        await store.add_lock(OVERLORD, "t", TaskLock("t", "flights", span, SEGMENTS[0].version).to_json(), ())
        await store.publish_segments(OVERLORD, Publication(task_id="t", attempt=attempt, segments=SEGMENTS))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A coordination server and two Coordinators."""
    async with open_cluster(tmp_path) as cluster:
        await publish(tmp_path / "metadata.sqlite")
        await cluster.server()
        for name in ("coordinator-1", "coordinator-2"):
            await cluster.role(name, "coordinator")
        yield cluster


async def leader_of(cluster: Cluster, *names: str) -> str:
    async def find() -> str | None:
        for name in names:
            if (await cluster.get(name, "/druid/coordinator/v1/isLeader")).json() == {"leader": True}:
                return name
        return None

    return str(await cluster.until(f"one of {names} leads", find))


async def latch_of(zk: Client) -> tuple[int, int]:
    """The epoch and the session of the latch znode that is the first, and so leads."""
    found = await zk.read_many(
        [f"{PATHS.coordinator_latch}/{name}" for name in await zk.children(PATHS.coordinator_latch)]
    )
    stat = min((node.stat for node in found if node is not None), key=lambda stat: stat.czxid)
    return stat.czxid, stat.ephemeral_owner


async def owned_by(zk: Client, session: int) -> list[str]:
    """All ephemerals of a session."""
    async with zk.cache("/druid") as cache:
        await cache.wait_synced()
        nodes = {path: cache.get(path) for path in cache.paths()}
    return [path for path, node in nodes.items() if node is not None and node.stat.ephemeral_owner == session]


async def ask_unused(cluster: Cluster, name: str, answers: list[int]) -> None:
    """Tell a Coordinator to mark everything unused, and note its answer: it may be asleep."""
    url = cluster.procs[name].url + "/druid/coordinator/v1/datasources/flights"
    async with httpx2.AsyncClient(timeout=STOPPED_S + 60, trust_env=False) as http:
        answers.append((await http.delete(url)).status_code)


def epochs(servers: list[FakeHistorical]) -> list[list[int]]:
    """By server, the epochs of the requests that it was sent, in the order in which it took them up."""
    return [[request.coord.epoch for request in server.requests if request.coord is not None] for server in servers]


async def test_nothing_of_a_leader_that_was_stopped_while_it_assigned_is_accepted(
    cluster: Cluster, connecting: Any, nursery: trio.Nursery
) -> None:
    address = cluster.procs["server"].address
    old = await leader_of(cluster, "coordinator-1", "coordinator-2")
    new = "coordinator-2" if old == "coordinator-1" else "coordinator-1"
    async with AsyncExitStack() as stack:
        zk: Client = await stack.enter_async_context(connecting(address))
        old_epoch, old_session = await latch_of(zk)
        servers = [await stack.enter_async_context(fake_historical(address, f"h{n}:8083")) for n in (1, 2)]
        while min(len(server.served) for server in servers) < 20:
            await trio.sleep(0.001)
        cluster.procs[old].pause()
        stopped_at = trio.current_time()
        assert await zk.children(PATHS.load_queue_of("h1:8083"))  # it was in the middle of it
        answers: list[int] = []
        nursery.start_soon(ask_unused, cluster, old, answers)
        assert await leader_of(cluster, new) == new
        new_epoch, _ = await latch_of(zk)
        for server in servers:
            server.obey = (
                False  # the new one's requests stand, and what the old one would put in their place would show
            )
        await trio.sleep_until(stopped_at + STOPPED_S)
        assert await owned_by(zk, old_session) == []
        taken_before = [len(server.requests) for server in servers]
        cluster.procs[old].resume()

        async def stepped_down() -> bool:
            return bool((await cluster.get(old, "/druid/coordinator/v1/isLeader")).json() == {"leader": False})

        await cluster.until("the old leader has stepped down", stepped_down)
        for server in servers:
            server.obey = True
            await server.work()

        async def all_served() -> bool:
            return all(len(server.served) == len(SEGMENTS) for server in servers)

        await cluster.until("everything is loaded", all_served)
        # The tree: of the old session there is nothing, and after the first request of the new epoch none of the old.
        assert await owned_by(zk, old_session) == []
        for of_server, before in zip(epochs(servers), taken_before, strict=True):
            assert of_server == sorted(of_server)
            assert set(of_server) == {old_epoch, new_epoch}
            assert old_epoch not in of_server[before:]
        # HTTP: what it was told while it was stopped, believing that it leads, it has not done.
        while not answers:
            await trio.sleep(0.01)
        assert answers[0] in (307, 503)
    # The store: it refuses the old epoch, and nothing has been changed in its name.
    async with open_sqlite_store(cluster.directory / "metadata.sqlite") as store:
        assert len(await store.used_segments({})) == len(SEGMENTS)
        with pytest.raises(StaleEpochError):
            await store.set_used(LeaderEpoch(role="coordinator", epoch=old_epoch), [SEGMENTS[0].id], False)
    assert cluster.procs[old].process.returncode is None
