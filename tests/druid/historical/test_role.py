"""The whole Historical in one process: a real tree, real files, a fake Coordinator, and a Broker's questions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio
from made_segments import make_segment, push_segment

from coordserver.client import Client, NoNodeError, connect
from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.announcements import SegmentAnnouncer
from druidroles.coordination.inventory import read_batch
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.coordination.url import CoordUrl
from druidroles.deepstorage import DeepStorage, open_deep_storage
from druidroles.historical import role as role_module
from druidroles.historical.locations import CacheLocation
from druidroles.historical.role import HistoricalSettings, build
from druidroles.http.app import make_app
from druidroles.model.change_request import ChangeRequest, CoordMark
from druidroles.model.segment import DataSegment
from druidroles.model.server import DiscoveryDruidNode, DruidNode, DruidServerMetadata, NodeRole
from druidroles.process import Role, RoleContext, RoleSettings, StartError, claim_data_dir

ME = "127.0.0.1:8083"
MARK = CoordMark(epoch=7)
Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@attrs.frozen
class House:
    """One test's directories, and what writes to the tree as the Coordinator would."""

    directory: Path
    storage: DeepStorage
    coordinator: Client
    paths: DruidPaths

    def context(self, zk: Client, http: httpx2.AsyncClient) -> RoleContext:
        settings = RoleSettings(
            role=NodeRole.HISTORICAL,
            coord=CoordUrl.parse("coord://127.0.0.1:2181/druid"),
            host="127.0.0.1",
            port=8083,
            data_dir=self.directory / "historical",
        )
        return RoleContext(settings, zk, self.paths, http, ME)

    async def ask(self, request: ChangeRequest) -> str:
        path = self.paths.load_request(ME, request.id)
        await self.coordinator.create(path, dumps(request.to_json()), ephemeral=True)
        return path

    async def load(self, segment: DataSegment) -> None:
        """Ask for a load and wait until it is done."""
        with trio.fail_after(20):
            await self.coordinator.wait_deleted(await self.ask(ChangeRequest.load(segment, MARK)))

    async def announced(self, zk: Client | None = None) -> list[str]:
        zk = zk or self.coordinator
        directory = self.paths.segments_of(ME)
        found: list[str] = []
        for name in await zk.children(directory):
            found += read_batch((await zk.get(f"{directory}/{name}")).data)
        return sorted(found)

    async def status(self) -> dict[str, Any]:
        node = await self.coordinator.get(self.paths.coord_status(NodeRole.HISTORICAL, ME))
        value: dict[str, Any] = loads(node.data)
        return value


@pytest.fixture(autouse=True)
def short_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no Broker whom the news of a stop must reach."""
    monkeypatch.setattr(role_module, "UNANNOUNCED_S", 0.0)


@pytest.fixture
def house(tmp_path: Path, other: Client, paths: DruidPaths) -> House:
    (tmp_path / "historical").mkdir()
    return House(tmp_path, open_deep_storage(tmp_path / "deep"), other, paths)


@attrs.frozen
class Running:
    """A Historical that runs, and HTTP to it."""

    role: Role
    http: httpx2.AsyncClient

    async def count(self, *segments: DataSegment) -> tuple[int, list[dict[str, Any]]]:
        """Ask as a Broker does: the rows in some segments, and which of them are not served."""
        answer = await self.http.post(
            "/druid/v2",
            json={
                "queryType": "timeseries",
                "dataSource": "flights",
                "granularity": "all",
                "intervals": {"type": "segments", "segments": [one.descriptor.to_json() for one in segments]},
                "aggregations": [{"type": "count", "name": "n"}],
            },
        )
        assert answer.status_code == 200, answer.text
        context = json.loads(answer.headers.get("X-Druid-Response-Context", "{}"))
        rows = sum(row["result"]["n"] for row in answer.json())
        return rows, context.get("missingSegments", [])


@asynccontextmanager
async def running(house: House, zk: Client, **settings: Any) -> AsyncIterator[Running]:
    """A Historical until the block ends, by cancellation as from its process."""
    async with httpx2.AsyncClient() as outgoing:
        context = house.context(zk, outgoing)
        role = build(context, HistoricalSettings(deep_storage=house.directory / "deep", **settings))
        transport = httpx2.ASGITransport(make_app([context.metrics.route(), *role.routes()]))
        async with httpx2.AsyncClient(transport=transport, base_url="http://h") as http, trio.open_nursery() as nursery:
            with trio.fail_after(20):
                await nursery.start(role.run)
            yield Running(role, http)
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_from_the_request_to_the_answer(house: House, zk: Client, tmp_path: Path, eventually: Eventually) -> None:
    one, two = push_segment(house.storage, tmp_path, 1, rows=3), push_segment(house.storage, tmp_path, 2, rows=4)
    async with running(house, zk, max_size=10**6) as historical:
        assert await house.status() == {"currSize": 0, "maxSize": 10**6, "segments": 0, "loading": 0}
        await house.load(one)
        await house.load(two)
        assert await house.announced() == [one.id, two.id]
        assert await historical.count(one, two) == (7, [])
        unknown = make_segment(9)
        assert await historical.count(one, unknown) == (3, [unknown.descriptor.to_json()])

        async def told() -> bool:
            return (await house.status())["segments"] == 2

        await eventually(told)
        assert (await house.status())["currSize"] == one.size + two.size
        assert (await historical.http.get("/druid/historical/v1/loadstatus")).json() == {"cacheInitialized": True}
        assert (await historical.http.get("/druid/historical/v1/readiness")).status_code == 200
    for path in (house.paths.announcement(ME), house.paths.coord_status(NodeRole.HISTORICAL, ME)):
        assert await house.coordinator.exists(path) is None
    assert await house.announced() == []


async def test_discovery_says_that_it_serves_data(house: House, zk: Client) -> None:
    async with httpx2.AsyncClient() as http:
        settings = HistoricalSettings(deep_storage=house.directory / "deep", tier="hot", priority=3, max_size=5)
        services = build(house.context(zk, http), settings).discovery_services()
    node = DiscoveryDruidNode(DruidNode("druid/historical", "127.0.0.1", 8083), NodeRole.HISTORICAL, services)
    assert node.to_json()["services"] == {
        "dataNodeService": {
            "type": "dataNodeService", "tier": "hot", "maxSize": 5, "serverType": "historical", "priority": 3,
        }
    }  # fmt: skip


async def test_a_full_historical_says_so(house: House, zk: Client, tmp_path: Path, eventually: Eventually) -> None:
    one, two = push_segment(house.storage, tmp_path, 1), push_segment(house.storage, tmp_path, 2)
    async with running(house, zk, max_size=one.size + 1):
        await house.load(one)
        path = await house.ask(ChangeRequest.load(two, MARK))

        async def failure() -> Any:
            return loads((await house.coordinator.get(path)).data)["coord"].get("failure")

        assert "no room for segment" in await eventually(failure)
        assert await house.announced() == [one.id]


async def test_druids_own_format_is_a_failed_load_with_that_cause(
    house: House, zk: Client, tmp_path: Path, eventually: Eventually
) -> None:
    foreign = attrs.evolve(push_segment(house.storage, tmp_path), binary_version=9)
    async with running(house, zk):
        path = await house.ask(ChangeRequest.load(foreign, MARK))

        async def failure() -> Any:
            return loads((await house.coordinator.get(path)).data)["coord"].get("failure")

        assert "foreign format" in await eventually(failure)
        assert await house.announced() == []


async def test_a_drop_frees_what_is_announced_while_queries_still_find_it(
    house: House, zk: Client, tmp_path: Path, eventually: Eventually
) -> None:
    segment = push_segment(house.storage, tmp_path)
    async with running(house, zk) as historical:
        await house.load(segment)
        await house.coordinator.wait_deleted(await house.ask(ChangeRequest.drop(segment, MARK)))
        assert await house.announced() == []
        assert await historical.count(segment) == (3, [])

        async def told() -> bool:
            return (await house.status())["currSize"] == 0

        await eventually(told)
        await house.load(segment)
        assert await house.announced() == [segment.id]


async def test_a_restart_serves_what_it_has_and_replaces_its_predecessors_znodes_at_once(
    house: House, zk: Client, server: ServerHandle, tmp_path: Path, paths: DruidPaths
) -> None:
    """The predecessor was killed a moment ago: its session, and so its ephemerals, are still there."""
    segment = push_segment(house.storage, tmp_path)
    async with running(house, zk):
        await house.load(segment)
    await SegmentAnnouncer(zk, paths, DruidServerMetadata(name=ME, host=ME), [segment, make_segment(5)]).settle()
    await zk.create(paths.coord_status(NodeRole.HISTORICAL, ME), b"{}", ephemeral=True)
    async with (
        connect(server.address, session_timeout=4) as next_session,
        running(house, next_session) as historical,
    ):
        assert await house.announced() == [segment.id]
        node = await zk.get(paths.announcement(ME))
        assert node.stat.ephemeral_owner == next_session.session_id
        [name] = await zk.children(paths.segments_of(ME))
        batch = await zk.get(f"{paths.segments_of(ME)}/{name}")
        assert batch.stat.czxid == node.stat.czxid
        assert (await house.status())["currSize"] == segment.size
        assert await historical.count(segment) == (3, [])


async def test_the_loss_of_the_session_is_not_the_end_of_serving(
    house: House,
    zk: Client,
    tmp_path: Path,
    expire: Callable[[Client], Awaitable[None]],
    eventually: Eventually,
) -> None:
    one, two = push_segment(house.storage, tmp_path, 1), push_segment(house.storage, tmp_path, 2)
    async with running(house, zk) as historical:
        await house.load(one)
        await expire(zk)
        assert await historical.count(one) == (3, [])

        async def back() -> bool:
            try:
                return bool(await house.announced() == [one.id] and await house.status())
            except NoNodeError:
                return False

        await eventually(back)
        await house.load(two)
        assert await house.announced() == [one.id, two.id]


async def host_server(
    directory: Path, port: int, stop: trio.Event, *, task_status: trio.TaskStatus[ServerHandle]
) -> None:
    """A coordination server until `stop`."""
    async with embedded_server(directory, port=port) as handle:
        task_status.started(handle)
        await stop.wait()


async def test_without_a_coordination_server_it_goes_on_answering(tmp_path: Path, paths: DruidPaths) -> None:
    for name in ("tree", "historical"):
        (tmp_path / name).mkdir()
    storage = open_deep_storage(tmp_path / "deep")
    one, two = push_segment(storage, tmp_path, 1), push_segment(storage, tmp_path, 2)
    stop = trio.Event()
    async with trio.open_nursery() as outer, trio.open_nursery() as first:
        handle = await first.start(host_server, tmp_path / "tree", 0, stop)
        async with connect(handle.address) as zk, connect(handle.address) as coordinator:
            for path in paths.layout():
                await zk.ensure_path(path)
            house = House(tmp_path, storage, coordinator, paths)
            async with running(house, zk) as historical:
                await house.load(one)
                stop.set()
                with trio.fail_after(20):
                    while first.child_tasks:  # noqa: ASYNC110 - a nursery tells nobody that it is empty
                        await trio.sleep(0.01)
                assert await historical.count(one) == (3, [])
                again = trio.Event()
                await outer.start(host_server, tmp_path / "tree", handle.addresses[0].port, again)
                assert await house.announced() == [one.id]
                assert await historical.count(one) == (3, [])
                await house.load(two)
                assert zk.session_number == 1
        again.set()


async def test_a_stop_takes_back_the_announcements_first_and_answers_while_the_news_spreads(
    house: House, zk: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = push_segment(house.storage, tmp_path)
    monkeypatch.setattr(role_module, "UNANNOUNCED_S", 2.0)
    async with trio.open_nursery() as nursery:
        stop, stopped = trio.Event(), trio.Event()

        async def live(*, task_status: trio.TaskStatus[Running]) -> None:
            async with running(house, zk) as historical:
                task_status.started(historical)
                await stop.wait()
            stopped.set()

        historical = await nursery.start(live)
        await house.load(segment)
        stop.set()
        await house.coordinator.wait_deleted(house.paths.announcement(ME))
        assert (await house.status())["stopping"] is True  # said before, and still there for whoever sees it go
        assert await house.announced() == []
        assert not stopped.is_set()
        # What a Broker asks that has not heard yet. The client of `running` closes with the block, so another one.
        transport = httpx2.ASGITransport(make_app(historical.role.routes()))
        async with httpx2.AsyncClient(transport=transport, base_url="http://h") as http:
            assert await Running(historical.role, http).count(segment) == (3, [])
            await stopped.wait()
            answer = await http.post("/druid/v2", json={"queryType": "timeseries"})
            assert answer.status_code != 200


async def test_a_missing_deep_storage_is_one_clear_line(house: House, zk: Client) -> None:
    async with httpx2.AsyncClient() as http:
        with pytest.raises(StartError, match=r"deep storage .*/none/deep cannot be used: No such file"):
            build(house.context(zk, http), HistoricalSettings(deep_storage=house.directory / "none" / "deep"))


async def test_cache_locations_are_announced_together_and_belong_to_one_process(
    house: House, zk: Client, tmp_path: Path
) -> None:
    segment = push_segment(house.storage, tmp_path)
    locations = tuple(CacheLocation(tmp_path / name, 10**6) for name in ("disk-1", "disk-2"))
    async with running(house, zk, cache_locations=locations) as historical:
        assert loads((await zk.get(house.paths.announcement(ME))).data)["maxSize"] == 2 * 10**6
        await house.load(segment)
        assert await historical.count(segment) == (3, [])
        with (
            pytest.raises(StartError, match=r"the cache location .*disk-1 is held by another process"),
            claim_data_dir(tmp_path / "disk-1", "cache location"),
        ):
            pass
    with claim_data_dir(tmp_path / "disk-1", "cache location"):
        pass
    with pytest.raises(StartError, match=r"the cache location .*disk-1 is named twice"):
        async with running(house, zk, cache_locations=(locations[0], locations[0])):
            pass


async def test_what_is_held_and_asked_is_counted_under_druids_names(house: House, zk: Client, tmp_path: Path) -> None:
    one, two = push_segment(house.storage, tmp_path, 1), push_segment(house.storage, tmp_path, 2)
    async with running(house, zk, max_size=4 * one.size) as historical:
        await house.load(one)
        await house.load(two)
        await historical.count(one, two)
        assert (await historical.http.post("/druid/v2", json={"queryType": "timeseries"})).status_code == 400
        await house.coordinator.wait_deleted(await house.ask(ChangeRequest.drop(two, MARK)))
        text = (await historical.http.get("/metrics")).text
    for line in (
        'druid_segment_count{dataSource="flights"} 1',
        f"druid_segment_max {4 * one.size}",
        f"druid_segment_used {one.size}",
        "druid_segment_usedPercent 0.25",
        f"druid_segment_pendingDelete {two.size}",
        "druid_query_count 1",
        "druid_query_success_count 1",
        'druid_query_time_count{dataSource="flights",type="timeseries"} 1',
    ):
        assert line in text.splitlines(), text
