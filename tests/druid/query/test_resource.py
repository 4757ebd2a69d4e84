"""The query resource of a data server, asked over HTTP: what it answers, refuses and gives up."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio
from segment_files import VERSION

from druidroles.http.app import make_app
from druidroles.http.serve import HttpServer
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.engine import Execution
from druidroles.query.relation import Piece
from druidroles.query.resource import QueryResource
from druidroles.query.source import ServedSegment

COUNT = {"type": "count", "name": "n"}
# Some 10^11 pairs of rows in a join: minutes of work, of which no test sees the end.
ENDLESS = "SELECT count(*) FROM range(400000) AS a, range(400000) AS b WHERE (a.range * b.range) % 7 = 3"


@attrs.define
class Served:
    """Who knows the segments served here: some pieces of one data source."""

    pieces: Sequence[Piece]

    def find(self, data_source: str, descriptor: SegmentDescriptor) -> ServedSegment | None:
        """As a Historical would."""
        for piece in self.pieces:
            whole = piece.served.segment
            if (
                whole.data_source == data_source
                and whole.version == descriptor.version
                and whole.partition_num == descriptor.partition
                and whole.interval.contains(descriptor.interval)
            ):
                return piece.served
        return None


@attrs.define
class Server:
    """A data server to be asked."""

    resource: QueryResource
    http: httpx2.AsyncClient
    port: int

    async def ask(self, query: Any) -> httpx2.Response:
        """Its answer to a query."""
        return await self.http.post("/druid/v2", json=query)


@asynccontextmanager
async def serving(pieces: Sequence[Piece], temp_dir: Path, **limits: int) -> AsyncIterator[Server]:
    """A data server with these pieces on a free port."""
    resource = QueryResource(Served(pieces), host="me:1", temp_dir=temp_dir / "spill", **limits)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(HttpServer(make_app(resource.routes()), listeners).run)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            yield Server(resource, http, port)
        nursery.cancel_scope.cancel(reason="the test is over")
    resource.close()


def query(pieces: Sequence[Piece], **more: Any) -> dict[str, Any]:
    """A count over these pieces."""
    return {
        "queryType": "timeseries",
        "dataSource": "flights",
        "granularity": "all",
        "aggregations": [COUNT],
        "intervals": {"type": "segments", "segments": [piece.descriptor.to_json() for piece in pieces]},
        **more,
    }


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; the test's own timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - what it waits for happens in a thread
        await trio.sleep(0.005)


@attrs.define
class Slow:
    """Counts executions that have begun and ended, and makes their statements endless while `on`."""

    on: bool = True
    begun: int = 0
    ended: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Every query is endless work in DuckDB, which only an interrupt ends."""
    state = Slow()

    def work(execution: Execution) -> list[dict[str, Any]]:
        with state.lock:
            state.begun += 1
        try:
            execution._stop_if_interrupted()
            if state.on:
                execution._connection.execute(ENDLESS).fetchall()
        finally:
            with state.lock:
                state.ended += 1
        return []

    monkeypatch.setattr(Execution, "_run", work)
    return state


async def test_a_query_over_named_segments_is_answered(flights: list[Piece], tmp_path: Path) -> None:
    """The whole month, at both spellings of the path; nothing is missing, so the header is not there."""
    async with serving(flights, tmp_path) as server:
        for path in ("/druid/v2", "/druid/v2/", "/druid/v2?pretty"):
            response = await server.http.post(path, json=query(flights))
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/json"
            assert response.json() == [{"timestamp": "2013-01-01T00:00:00.000Z", "result": {"n": 27004}}]
            assert "X-Druid-Response-Context" not in response.headers


async def test_a_piece_of_a_segment_is_that_piece(flights: list[Piece], tmp_path: Path) -> None:
    """A descriptor's interval cuts its segment; a piece named twice counts once."""
    piece = {"itvl": "2013-01-02T12/2013-01-02T13", "ver": VERSION, "part": 0}
    async with serving(flights, tmp_path) as server:
        asked = query([], intervals={"type": "segments", "segments": [piece, piece]})
        assert (await server.ask(asked)).json()[0]["result"] == {"n": 59}


async def test_what_is_not_served_is_told(flights: list[Piece], tmp_path: Path) -> None:
    """Of a wrong version, partition, interval or data source, and what has been dropped; the rest is answered."""
    descriptors = [
        {"itvl": "2013-01-01/2013-01-02", "ver": "other", "part": 0},
        {"itvl": "2013-01-01/2013-01-02", "ver": VERSION, "part": 1},
        {"itvl": "2013-01-01/2013-01-03", "ver": VERSION, "part": 0},
        {"itvl": "2013-01-05/2013-01-06", "ver": VERSION, "part": 0},
        {"itvl": "2013-01-02/2013-01-03", "ver": VERSION, "part": 0},
    ]
    asked = query([], intervals={"type": "segments", "segments": descriptors})
    async with serving(flights[:4], tmp_path) as server:
        response = await server.ask(asked)
        context = response.headers["X-Druid-Response-Context"]
        missing = json.loads(context)["missingSegments"]
        assert [(item["itvl"][:10], item["ver"], item["part"]) for item in missing] == [
            ("2013-01-01", "other", 0),
            ("2013-01-01", VERSION, 1),
            ("2013-01-01", VERSION, 0),
            ("2013-01-05", VERSION, 0),
        ]
        assert ", " not in context
        assert response.json()[0]["result"] == {"n": 930}
        nothing = await server.ask({**asked, "dataSource": "other"})
        assert nothing.json() == []
        assert len(json.loads(nothing.headers["X-Druid-Response-Context"])["missingSegments"]) == 5


async def test_more_missing_than_a_header_holds_is_an_error(tmp_path: Path) -> None:
    """A list cut short would pass off less as all."""
    many = [{"itvl": "2013-01-01/2013-01-02", "ver": VERSION, "part": part} for part in range(1000)]
    async with serving([], tmp_path) as server:
        response = await server.ask(query([], intervals={"type": "segments", "segments": many}))
    assert response.status_code == 500
    assert response.json()["errorClass"].endswith("SegmentMissingException")
    assert "1000 of the segments" in response.json()["errorMessage"]


async def test_a_file_that_vanishes_is_told_as_missing(flights: list[Piece], tmp_path: Path) -> None:
    """Dropped between being found and being read: that segment is missing, the rest is answered."""
    gone = attrs.evolve(flights[2], served=attrs.evolve(flights[2].served, path=tmp_path / "gone.parquet"))
    pieces = [*flights[:2], gone, *flights[3:]]
    async with serving(pieces, tmp_path) as server:
        for asked in (query(flights), query(flights, queryType="scan", columns=["carrier"], limit=100_000)):
            response = await server.ask(asked)
            missing = json.loads(response.headers["X-Druid-Response-Context"])["missingSegments"]
            assert missing == [flights[2].descriptor.to_json()]
        assert sum(len(batch["events"]) for batch in response.json()) == 27004 - 917


@pytest.mark.parametrize(
    ("body", "status", "error", "named"),
    [
        (b"{", 400, "Json parse failed", "not JSON"),
        (b"[]", 400, "Bad request", "JSON object"),
        (b"{}", 400, "Json parse failed", "queryType is missing"),
        (b'{"queryType": "search"}', 501, "Unsupported operation", "queryType 'search'"),
        (
            b'{"queryType": "timeBoundary", "dataSource": "flights"}',
            501,
            "Unsupported operation",
            "intervals: a data server answers over segments that are named",
        ),
        (
            b'{"queryType": "timeBoundary", "dataSource": "flights", '
            b'"intervals": {"type": "segments", "segments": [{"itvl": "x", "ver": "1", "part": 0}]}}',
            400,
            "Json parse failed",
            "intervals.segments[0]",
        ),
    ],
)
async def test_what_cannot_be_answered_gets_druids_error(
    body: bytes, status: int, error: str, named: str, tmp_path: Path
) -> None:
    """The body has Druid's keys and says which field is at fault, and which server found it."""
    async with serving([], tmp_path) as server:
        response = await server.http.post("/druid/v2", content=body)
    assert response.status_code == status
    told = response.json()
    assert {"error", "errorMessage", "errorClass", "host"} <= set(told)
    assert (told["error"], told["host"]) == (error, "me:1")
    assert named in told["errorMessage"]


async def test_a_query_ends_with_its_timeout(flights: list[Piece], slow: Slow, tmp_path: Path) -> None:
    """The thread is told to end and is waited for; then others have their turn."""
    async with serving(flights, tmp_path, concurrent=1) as server:
        response = await server.ask(query(flights, context={"timeout": 50}))
        assert response.status_code == 504
        assert response.json()["error"] == "Query timeout"
        assert "50 ms" in response.json()["errorMessage"]
        assert slow.begun == slow.ended
        slow.on = False
        assert (await server.ask(query(flights))).status_code == 200


async def test_a_query_that_waits_has_its_timeout_too(flights: list[Piece], slow: Slow, tmp_path: Path) -> None:
    """One that never got its turn never begins."""
    async with serving(flights, tmp_path, concurrent=1) as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.ask, query(flights))
        await until(lambda: slow.begun == 1)
        assert (await server.ask(query(flights, context={"timeout": 50}))).status_code == 504
        assert slow.begun == 1
        nursery.cancel_scope.cancel(reason="seen")


async def test_a_query_ends_when_its_client_goes(flights: list[Piece], slow: Slow, tmp_path: Path) -> None:
    """Nobody waits for the answer, so nobody works for it."""
    body = json.dumps(query(flights)).encode()
    async with serving(flights, tmp_path, concurrent=1) as server:
        client = await trio.open_tcp_stream("127.0.0.1", server.port)
        head = f"POST /druid/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send_all(head.encode() + body)
        await until(lambda: slow.begun == 1)
        await client.aclose()
        await until(lambda: slow.ended == 1)
        slow.on = False
        assert (await server.ask(query(flights))).status_code == 200


async def test_too_many_queries_are_refused(flights: list[Piece], slow: Slow, tmp_path: Path) -> None:
    """Two run, one waits, the fourth is told to come later. When they have ended there is room again."""
    async with serving(flights, tmp_path, concurrent=2, waiting=1) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(server.ask, query(flights))
            await until(lambda: server.resource._admitted == 3)
            response = await server.ask(query(flights))
            assert response.status_code == 429
            assert response.json()["error"] == "Query capacity exceeded"
            nursery.cancel_scope.cancel(reason="seen")
        await until(lambda: server.resource._admitted == 0)
        assert slow.begun == slow.ended  # the third may have had its turn before its client was seen to go
        slow.on = False
        assert (await server.ask(query(flights))).status_code == 200


async def test_close_ends_what_runs(flights: list[Piece], slow: Slow, tmp_path: Path) -> None:
    """The process stops: what runs is interrupted, what comes is refused."""
    answers: list[httpx2.Response] = []

    async def ask(server: Server) -> None:
        answers.append(await server.ask(query(flights)))

    async with serving(flights, tmp_path, concurrent=1) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, server)
            await until(lambda: slow.begun == 1)
            server.resource.close()
        assert answers[0].status_code == 500
        assert answers[0].json()["error"] == "Query cancelled"
        await server.resource.wait_drained()
        assert (await server.ask(query(flights))).status_code == 503
