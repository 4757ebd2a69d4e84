"""A whole Broker: a real tree, two real data servers with real segments, a Coordinator that lists them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from broker_world import BASE, COUNT, COUNT_QUERY, World
from http_servers import serve_http
from made_segments import make_segment
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coordserver.client import Client
from druidroles.broker import served_log as memory
from druidroles.broker.role import BrokerSettings
from druidroles.broker.tier_selector import Watched
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.paths import DruidPaths
from druidroles.model.server import DruidServerMetadata
from druidroles.query.relation import Piece

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture
async def world(zk: Client, paths: DruidPaths, tmp_path: Path) -> AsyncIterator[World]:
    """An empty tree."""
    async with trio.open_nursery() as nursery:
        world = World(zk, paths, tmp_path, nursery)
        async with world.http:
            yield world
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_the_five_query_types_over_two_servers(world: World, flights: list[Piece]) -> None:
    """The known figures of the data, each server serving a part and some days both."""
    await world.data_server(flights[:20])
    await world.data_server(flights[12:])
    await world.broker()
    sums = [COUNT, {"type": "longSum", "name": "distance", "fieldName": "distance"}]
    assert await world.ask({**COUNT_QUERY, "aggregations": sums}) == [
        {"timestamp": "2013-01-01T00:00:00.000Z", "result": {"n": 27004, "distance": 27188805}}
    ]
    top = {"queryType": "topN", **BASE, "dimension": "carrier", "metric": "n", "threshold": 2, "aggregations": [COUNT]}
    assert (await world.ask(top))[0]["result"] == [{"carrier": "UA", "n": 4637}, {"carrier": "B6", "n": 4427}]
    group = {"queryType": "groupBy", **BASE, "dimensions": ["origin"], "aggregations": [COUNT]}
    events = [row["event"] for row in await world.ask(group)]
    assert events == [{"origin": "EWR", "n": 9893}, {"origin": "JFK", "n": 9161}, {"origin": "LGA", "n": 7950}]
    scan = {"queryType": "scan", **BASE, "columns": ["__time", "carrier"], "order": "descending", "limit": 500}
    rows = [event["__time"] for batch in await world.ask(scan) for event in batch["events"]]
    assert len(rows) == 500
    assert rows == sorted(rows, reverse=True)
    bounds = (await world.ask({"queryType": "timeBoundary", "dataSource": "flights"}))[0]["result"]
    assert bounds == {"minTime": "2013-01-01T10:00:00.000Z", "maxTime": "2013-02-01T04:00:00.000Z"}


async def test_what_there_is_to_be_queried(world: World, flights: list[Piece]) -> None:
    """Datasources with their columns, and whether the view is complete."""
    await world.data_server(flights)
    await world.broker()
    assert await world.get("/druid/v2/datasources") == ["flights"]
    columns = await world.get("/druid/v2/datasources/flights")
    assert {"carrier", "distance"} <= set(columns["dimensions"])
    assert columns["metrics"] == []
    assert await world.get("/druid/v2/datasources/flights/dimensions") == columns["dimensions"]
    assert await world.get("/druid/v2/datasources/unknown") == {"dimensions": [], "metrics": []}
    assert await world.get("/druid/v2/datasources/flights/") == columns
    for days, shown in (
        ("2013-01-01/2013-01-03", columns),
        ("2014-01-01/2014-01-02", {"dimensions": [], "metrics": []}),
    ):
        assert await world.get(f"/druid/v2/datasources/flights?interval={days}") == shown
        assert await world.get(f"/druid/v2/datasources/flights/metrics?interval={days}") == []
    assert await world.get("/druid/v2/datasources/flights?full&interval=2013-01-02T12/2013-01-05") == {
        "2013-01-02T12:00:00.000Z/2013-01-05T00:00:00.000Z": columns
    }
    assert await world.get("/druid/v2/datasources/flights?full&interval=2014-01-01/2014-01-02") == {}
    assert list(await world.get("/druid/v2/datasources/flights?full")) == [
        "2013-01-01T00:00:00.000Z/2013-02-02T00:00:00.000Z"
    ]
    assert await world.get("/druid/v2/datasources/unknown?full") == {}
    assert "interval: 'soon'" in (await world.get("/druid/v2/datasources/flights?interval=soon"))["errorMessage"]
    assert (await world.get("/druid/v2/datasources/flights/else"))["error"] == "Not found"
    assert await world.get("/druid/broker/v1/loadstatus") == {"inventoryInitialized": True}
    assert await world.ask({**COUNT_QUERY, "dataSource": "unknown"}) == [
        {"timestamp": "2013-01-01T00:00:00.000Z", "result": {"n": 0}}
    ]


async def test_query_ids_and_errors(world: World, flights: list[Piece]) -> None:
    """The id is the client's or a new one, on answers and on errors."""
    await world.data_server(flights[:1])
    await world.broker()
    assert (await world.post({**COUNT_QUERY, "context": {"queryId": "mine"}})).headers["x-druid-query-id"] == "mine"
    assert len((await world.post(COUNT_QUERY)).headers["x-druid-query-id"]) == 36
    bad = await world.post({**COUNT_QUERY, "queryType": "segmentMetadata", "context": {"queryId": "mine"}})
    assert bad.status_code == 501
    assert "segmentMetadata" in bad.json()["errorMessage"]
    assert bad.json()["host"] == "127.0.0.1:8082"
    assert bad.headers["x-druid-query-id"] == "mine"
    for context in ({"queryId": "a\nb"}, {"queryId": 7}, {"returnPartialResults": "perhaps"}, "none"):
        assert (await world.post({**COUNT_QUERY, "context": context})).status_code == 400
    # As recorded from Apache Druid 28.0.0.
    late = await world.post({**COUNT_QUERY, "context": {"timeout": "soon"}})
    assert late.json() == {
        "error": "Query context parse failed",
        "errorClass": "org.apache.druid.query.BadQueryContextException",
        "host": "127.0.0.1:8082",
        "errorCode": "legacyQueryException",
        "persona": "OPERATOR",
        "category": "INVALID_INPUT",
        "errorMessage": "context.timeout must be a whole number",
        "context": {
            "host": "127.0.0.1:8082",
            "errorClass": "org.apache.druid.query.BadQueryContextException",
            "legacyErrorCode": "Query context parse failed",
        },
    }


async def test_sql_is_refused_by_name(world: World) -> None:
    """Not as a method that some other resource has not."""
    await world.broker()
    for path in ("", "/avatica-protobuf/"):
        answer = await world.http.post(f"{world.broker_url}/druid/v2/sql{path}", json={"query": "SELECT 1"})
        assert (answer.status_code, answer.json()["error"]) == (501, "Unsupported operation")
        assert "SQL" in answer.json()["errorMessage"]


async def test_a_server_that_goes_is_replaced_and_what_only_it_had_is_missed(
    world: World, flights: list[Piece], eventually: Eventually
) -> None:
    """Until the Coordinator says that it is not used any more, which it tells by a bump."""
    segments = [piece.served.segment for piece in flights]
    world.used = [segment.to_json() for segment in segments]
    await world.coordinator()
    await world.data_server(flights[:-1])
    _, scope = await world.data_server(flights[-2:])
    await world.broker()
    assert (await world.ask(COUNT_QUERY))[0]["result"]["n"] == 27004
    scope.cancel()

    async def fails() -> Any:
        response = await world.post(COUNT_QUERY)
        return response if response.status_code != 200 else None

    response = await eventually(fails)
    assert response.status_code == 500
    assert response.json()["errorClass"].endswith("SegmentMissingException")
    assert segments[-1].id in response.json()["errorMessage"]
    partial = await world.post({**COUNT_QUERY, "context": {"returnPartialResults": True}})
    assert partial.status_code == 200
    assert partial.json()[0]["result"]["n"] < 27004
    context = json.loads(partial.headers["x-druid-response-context"])
    assert context == {"missingSegments": [segments[-1].descriptor.to_json()]}
    world.used.pop()
    read = world.reads
    await world.zk.ensure_path(world.paths.coord_published)
    await world.zk.set(world.paths.coord_published, b"")

    async def read_again() -> bool:
        return world.reads > read

    await eventually(read_again)
    assert (await world.ask(COUNT_QUERY))[0]["result"]["n"] == partial.json()[0]["result"]["n"]


class Hanging:
    """A data server that takes queries and never answers. Counts those that run there."""

    def __init__(self, world: World) -> None:
        self.asked = trio.Event()
        self.ended = trio.Event()
        self.running = 0
        self._world = world

    async def _hang(self, request: Request) -> Response:
        await request.body()
        self.running += 1
        self.asked.set()
        try:
            while (await request.receive())["type"] != "http.disconnect":
                pass
        finally:
            self.running -= 1
            self.ended.set()
        return Response()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve and announce."""
        world = self._world
        async with serve_http([Route("/druid/v2", self._hang, methods=["POST"])]) as served:
            metadata = DruidServerMetadata(served.host_port, host=served.host_port)
            async with announced_server(world.zk, world.paths, metadata, [make_segment()]):
                task_status.started()
                await trio.sleep_forever()


@pytest.fixture
async def hanging(world: World, nursery: trio.Nursery) -> Hanging:
    """One that a Broker knows."""
    made = Hanging(world)
    await nursery.start(made.run)
    await world.broker()
    return made


async def test_a_query_can_be_cancelled_by_its_id(world: World, hanging: Hanging) -> None:
    """DELETE with the id; the client gets Druid's error, and the data server is let go."""
    answers: list[httpx2.Response] = []

    async def ask() -> None:
        answers.append(await world.post({**COUNT_QUERY, "context": {"queryId": "mine"}}))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await hanging.asked.wait()
        assert (await world.http.delete(world.broker_url + "/druid/v2/mine")).status_code == 202
    assert answers[0].status_code == 500
    assert answers[0].json()["error"] == "Query cancelled"
    await hanging.ended.wait()
    assert (await world.http.delete(world.broker_url + "/druid/v2/unknown")).status_code == 202


async def test_a_client_that_goes_ends_its_query_everywhere(world: World, hanging: Hanging) -> None:
    """Nobody works on for an answer that nobody reads."""
    async with trio.open_nursery() as asking:
        asking.start_soon(world.post, COUNT_QUERY)
        await hanging.asked.wait()
        asking.cancel_scope.cancel(reason="the client goes")
    await hanging.ended.wait()
    assert hanging.running == 0


async def test_too_many_queries_are_refused(
    world: World, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Some run, some wait, the next gets 429 at once; and there is room again afterwards."""
    monkeypatch.setattr("druidroles.broker.resource.CONCURRENT", 1)
    monkeypatch.setattr("druidroles.broker.resource.WAITING", 1)

    async def both_run() -> bool:
        return hanging.running == 2

    async def none_runs() -> bool:
        return hanging.running == 0

    async with trio.open_nursery() as asking:
        for _ in range(2):
            asking.start_soon(world.post, COUNT_QUERY)
        await eventually(both_run)
        refused = await world.post(COUNT_QUERY)
        assert refused.status_code == 429
        assert refused.json()["error"] == "Query capacity exceeded"
        asking.cancel_scope.cancel(reason="the clients go")
    await eventually(none_runs)
    timed_out = await world.post({**COUNT_QUERY, "context": {"timeout": 50}})
    assert timed_out.status_code == 504


async def test_candidates_are_the_servers_of_each_piece(world: World, flights: list[Piece]) -> None:
    one, _ = await world.data_server(flights[:2])
    two, _ = await world.data_server(flights[1:3])
    await world.broker()
    response = await world.http.post(world.broker_url + "/druid/v2/candidates", json=COUNT_QUERY)
    located = response.json()
    assert [len(item["locations"]) for item in located] == [1, 2, 1]
    segment = flights[1].served.segment
    assert located[1]["interval"] == str(segment.interval)
    assert (located[1]["version"], located[1]["partitionNumber"]) == (segment.version, 0)
    assert located[1]["size"] == segment.size
    assert {server["name"] for server in located[1]["locations"]} == {one.host_port, two.host_port}
    path = "/druid/v2/datasources/flights/candidates"
    day = str(segment.interval).replace("/", "_")
    assert await world.get(f"{path}?intervals={day}") == [located[1]]
    assert [len(item["locations"]) for item in await world.get(f"{path}?intervals={day}&numCandidates=1")] == [1]
    assert await world.get(path) == []
    numbers = [f"intervals={day}&numCandidates={bad}" for bad in ("x", "--1", "1_0", "9" * 5_000)]
    for bad in ("intervals=yesterday", *numbers):
        assert (await world.http.get(f"{world.broker_url}{path}?{bad}")).status_code == 400


async def test_a_broker_that_watches_another_tier_sees_nothing(world: World, flights: list[Piece]) -> None:
    await world.data_server(flights[:2])
    await world.broker(BrokerSettings(watched=Watched(ignored_tiers=frozenset({"_default_tier"}))))
    assert await world.get("/druid/v2/datasources") == []
    assert await world.ask(COUNT_QUERY) == [{"timestamp": "2013-01-01T00:00:00.000Z", "result": {"n": 0}}]


async def test_queries_are_counted_under_druids_names(world: World, flights: list[Piece]) -> None:
    one, _ = await world.data_server(flights[:2])
    await world.broker()
    await world.ask(COUNT_QUERY)
    text = (await world.http.get(world.broker_url + "/metrics")).text
    for line in (
        'druid_query_time_count{dataSource="flights",type="timeseries"} 1',
        f'druid_query_node_time_count{{server="{one.host_port}"}} 1',
        "druid_query_count 1",
        "druid_query_success_count 1",
        "druid_query_failed_count 0",
        "druid_init_serverview_time_count 1",
    ):
        assert line in text.splitlines()


async def test_a_restarted_broker_knows_what_is_missing(
    world: World, flights: list[Piece], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Served before the restart, and nowhere after it: a query fails instead of counting less (#5120)."""
    monkeypatch.setattr(memory, "INTERVAL_S", 0.0)
    await world.coordinator()
    world.used = [piece.served.segment.to_json() for piece in flights[:2]]
    await world.data_server(flights[:1])
    _, lost = await world.data_server(flights[1:2])
    await world.broker()
    before = await world.ask(COUNT_QUERY)
    with trio.fail_after(20):
        while not (tmp_path / "served").is_file():  # noqa: ASYNC110 - a thread writes it
            await trio.sleep(0.01)
    lost.cancel()
    await world.zk.sync()
    await world.broker()  # another one, in the same data directory
    response = await world.post(COUNT_QUERY)
    assert response.status_code == 500
    assert flights[1].served.segment.id in response.json()["errorMessage"]
    partial = await world.post({**COUNT_QUERY, "context": {"returnPartialResults": True}})
    assert partial.json()[0]["result"]["n"] < before[0]["result"]["n"]
    world.used = world.used[:1]
    await world.broker()  # it is not used any more: it is not missed
    assert (await world.ask(COUNT_QUERY))[0]["result"]["n"] == partial.json()[0]["result"]["n"]
