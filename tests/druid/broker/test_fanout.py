"""Fan-out over real HTTP servers that pretend to hold segments: merging, healing, and what cannot be healed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import trio
from http_servers import Served, dead_port, serve_http
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from druidroles.broker.fanout import FanOut
from druidroles.broker.view import BrokerView
from druidroles.coordination.changes import Revision
from druidroles.http.client import make_client
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment, SegmentDescriptor
from druidroles.model.server import DruidServerMetadata
from druidroles.query.errors import (
    QueryError,
    QueryFailedError,
    QueryTimeoutError,
    SegmentMissingError,
    UnsupportedQueryError,
)
from druidroles.query.model import parse_query

DAY = 86_400_000


class Servers:
    """An inventory that the test writes."""

    def __init__(self) -> None:
        self.servers: dict[str, DruidServerMetadata] = {}
        self.revision = Revision()

    async def changed(self, seen: int | None = None) -> int:
        """As a view's."""
        return await self.revision.passed(seen)


class Holder:
    """A data server: it counts one row in each segment of `holds`, and can be told to misbehave."""

    def __init__(self, *days: int) -> None:
        self.holds = set(days)
        self.asked: list[list[int]] = []
        self.bodies: list[dict[str, Any]] = []
        self.before: Callable[[Holder], Any] | None = None  # its answer, or None for the usual one

    async def answer(self, request: Request) -> Response:
        """POST /druid/v2."""
        body = await request.json()
        self.bodies.append(body)
        asked = [SegmentDescriptor.from_json(one) for one in body["intervals"]["segments"]]
        days = [one.interval.start_ms // DAY for one in asked]
        self.asked.append(days)
        if self.before is not None:
            special = await self.before(self)
            if special is not None:
                response: Response = special
                return response
        missing = [one.to_json() for one, day in zip(asked, days, strict=True) if day not in self.holds]
        count = sum(day in self.holds for day in days)
        headers = {"X-Druid-Response-Context": json.dumps({"missingSegments": missing})} if missing else {}
        result = [{"timestamp": format_iso(0), "result": {"n": count}}] if count else []
        return JSONResponse(result, headers=headers)


class World:
    """A fan-out and its servers. `refreshed` counts the readings of the used segments; `on_refresh` acts on them."""

    def __init__(self, http: httpx2.AsyncClient, nursery: trio.Nursery) -> None:
        self.view = BrokerView()
        self.inventory = Servers()
        self.refreshed = 0
        self.on_refresh: Callable[[], None] = lambda: None
        self.fan_out = FanOut(http, self.view, self.inventory, self.refresh)
        self._nursery = nursery

    async def refresh(self) -> None:
        """A reading of the used segments."""
        await trio.lowlevel.checkpoint()
        self.refreshed += 1
        self.on_refresh()

    async def serve(self, holder: Holder, *, announces: set[int] | None = None, priority: int = 0) -> Served:
        """One more data server; it announces what it holds, or something else."""
        served: Served = await self._nursery.start(_hold, holder)
        self.announce(served.host_port, holder.holds if announces is None else announces, priority)
        return served

    def announce(self, name: str, days: set[int], priority: int = 0) -> None:
        """A server by name."""
        self.inventory.servers[name] = DruidServerMetadata(name, host=name, priority=priority)
        for day in days:
            self.view.serve(name, segment(day))

    def withdraw(self, name: str) -> None:
        """Its session has ended."""
        del self.inventory.servers[name]
        for day in range(10):
            self.view.unserve(name, segment(day).id)
        self.inventory.revision.bump()

    async def count(self, days: int = 4, *, partial: bool = False, **context: Any) -> tuple[Any, list[int]]:
        """Count the rows of the first days; and the days that are missing."""
        answer = await self.fan_out.answer(parse_query(query(days, **context)), partial=partial)
        return answer.results[0]["result"]["n"], sorted(one.interval.start_ms // DAY for one in answer.missing)


async def _hold(holder: Holder, *, task_status: trio.TaskStatus[Served]) -> None:
    async with serve_http([Route("/druid/v2", holder.answer, methods=["POST"])]) as served:
        task_status.started(served)
        await trio.sleep_forever()


def segment(day: int, version: str = "1") -> DataSegment:
    """A segment of a day."""
    return DataSegment("d", Interval(day * DAY, (day + 1) * DAY), version)


def query(days: int = 4, **context: Any) -> dict[str, Any]:
    """Count rows."""
    return {
        "queryType": "timeseries",
        "dataSource": "d",
        "intervals": [str(Interval(0, days * DAY))],
        "granularity": "all",
        "aggregations": [{"type": "count", "name": "n"}],
        "context": context,
    }


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """No servers yet."""
    async with open_world() as world:
        yield world


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """A fan-out with a real HTTP client."""
    async with make_client() as http, trio.open_nursery() as nursery:
        yield World(http, nursery)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_each_piece_is_asked_of_one_server_and_the_answers_are_merged(world: World) -> None:
    """One request a server, with the pieces named; a segment that both serve counts once."""
    one, two = Holder(0, 1, 2), Holder(2, 3)
    await world.serve(one)
    await world.serve(two)
    assert await world.count() == (4, [])
    assert sorted([*one.asked[0], *two.asked[0]]) == [0, 1, 2, 3]
    assert (len(one.asked), len(two.asked)) == (1, 1)
    sent = one.bodies[0]
    assert sent["queryType"] == "timeseries"
    assert 0 < sent["context"]["timeout"] <= 300_000
    assert sent["intervals"]["segments"][0] == {"itvl": str(Interval(0, DAY)), "ver": "1", "part": 0}


async def test_pieces_are_trimmed_to_the_query(world: World) -> None:
    """And to what newer versions leave to be seen."""
    holder = Holder(0)
    await world.serve(holder)
    half = query()
    half["intervals"] = [str(Interval(DAY // 2, DAY))]
    await world.fan_out.answer(parse_query(half))
    assert holder.bodies[0]["intervals"]["segments"] == [{"itvl": str(Interval(DAY // 2, DAY)), "ver": "1", "part": 0}]


async def test_an_unknown_datasource_is_empty_not_an_error(world: World) -> None:
    """As in Druid."""
    assert await world.count() == (0, [])


async def test_what_a_server_does_not_have_is_asked_of_a_replica(world: World) -> None:
    """It announced it, but has dropped it since; the rest of its answer counts."""
    stale, good = Holder(0), Holder(1)
    await world.serve(stale, announces={0, 1}, priority=9)
    await world.serve(good)
    assert await world.count(2) == (2, [])
    assert (stale.asked, good.asked) == ([[0, 1]], [[1]])
    assert world.refreshed == 0


async def test_a_dead_server_is_replaced_and_then_passed_over(world: World) -> None:
    """Its connections are refused; within the query the replica answers, and the next query does not try it."""
    dead = await dead_port()
    world.announce(dead, {0, 1}, priority=9)
    good = Holder(0, 1)
    await world.serve(good)
    assert await world.count(2) == (2, [])
    assert world.fan_out.choice.is_failing(dead, trio.current_time())
    assert await world.count(2) == (2, [])
    assert good.asked == [[0, 1], [0, 1]]


async def test_a_server_that_dies_in_the_middle_of_its_answer_has_contributed_nothing(world: World) -> None:
    """What it had sent is not counted twice."""

    async def break_off(holder: Holder) -> Response:
        class Half:
            def __init__(self) -> None:
                self.sent = False

            def __aiter__(self) -> Half:
                return self

            async def __anext__(self) -> bytes:
                await trio.lowlevel.checkpoint()
                if self.sent:
                    raise RuntimeError("the disk is gone")
                self.sent = True
                return b'[{"timestamp":"1970-01-01T00:00:00.000Z","result":{"n":1}},'

        return StreamingResponse(Half())

    bad = Holder(0, 1)
    bad.before = break_off
    await world.serve(bad, priority=9)
    await world.serve(Holder(0, 1))
    assert await world.count(2) == (2, [])
    assert len(bad.asked) == 1


@pytest.mark.parametrize("body", ['{"not": "an array"}', '[{"timestamp": 1}', "[1]", ""])
async def test_an_answer_that_makes_no_sense_is_a_failure_of_its_server(world: World, body: str) -> None:
    """Another one is asked."""

    async def nonsense(holder: Holder) -> Response:
        return Response(body, media_type="application/json")

    bad = Holder(0)
    bad.before = nonsense
    await world.serve(bad, priority=9)
    await world.serve(Holder(0))
    assert await world.count(1) == (1, [])


async def test_a_server_that_hangs_is_given_up_when_it_leaves_the_tree(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session has ended; the replica answers within the query."""
    monkeypatch.setattr("druidroles.broker.fanout.GONE_GRACE_S", 0.01)
    asked = trio.Event()

    async def hang(holder: Holder) -> None:
        asked.set()
        await trio.sleep_forever()

    hanging = Holder(0)
    hanging.before = hang
    name = (await world.serve(hanging, priority=9)).host_port
    await world.serve(Holder(0))
    counted: list[Any] = []

    async def ask() -> None:
        counted.append(await world.count(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await asked.wait()
        world.withdraw(name)
    assert counted == [(1, [])]


async def test_a_segment_served_nowhere_any_more_fails_the_query(world: World) -> None:
    """After one look whether it is still used; never is it silently nothing."""
    name = (await world.serve(Holder(1))).host_port
    await world.serve(Holder(0))
    world.withdraw(name)
    with pytest.raises(SegmentMissingError, match=segment(1).id):
        await world.count(2)
    assert world.refreshed == 1
    assert await world.count(2, partial=True) == (1, [1])
    assert await world.count(1) == (1, [])


async def test_a_segment_that_turns_out_to_be_unused_does_not_fail_it(world: World) -> None:
    """The reading that a missing segment brings about says so, and the query starts over without it."""
    name = (await world.serve(Holder(1))).host_port
    await world.serve(Holder(0))
    world.withdraw(name)

    def read() -> None:
        world.view.set_used({segment(0).id}, world.view.mark)
        world.view.forget_unused(10)

    world.on_refresh = read
    assert await world.count(2) == (1, [])


async def test_a_query_that_meets_a_new_version_starts_over(world: World) -> None:
    """What it was sent for has been dropped under it; the parts it has are not mixed with the new ones."""
    holder = Holder(0)
    name = (await world.serve(holder, announces={0, 1})).host_port

    async def replace(_: Holder) -> None:
        holder.before = None
        world.view.set_used({segment(0).id, segment(1, "2").id}, world.view.mark + 1)
        world.view.serve(name, segment(1, "2"))
        world.view.unserve(name, segment(1).id)
        world.on_refresh = lambda: holder.holds.add(1)

    holder.before = replace
    assert await world.count(2) == (2, [])
    assert holder.asked == [[0, 1], [0, 1]]
    assert [one["ver"] for one in holder.bodies[1]["intervals"]["segments"]] == ["1", "2"]


async def test_all_replicas_dead_is_missing_too(world: World) -> None:
    """They are announced, but nobody answers."""
    world.announce(await dead_port(), {0})
    world.announce(await dead_port(), {0})
    with pytest.raises(SegmentMissingError):
        await world.count(1)


async def test_a_refusal_of_the_query_goes_to_the_client_as_it_came(world: World) -> None:
    """Another server would say the same; it is not asked."""

    async def refuse(holder: Holder) -> Response:
        return JSONResponse(UnsupportedQueryError("not that").body() | {"host": "h:1"}, status_code=501)

    refusing, other = Holder(0), Holder(0)
    refusing.before = refuse
    await world.serve(refusing, priority=9)
    await world.serve(other)
    with pytest.raises(QueryError) as caught:
        await world.count(1)
    assert (caught.value.status, caught.value.message, caught.value.host) == (501, "not that", "h:1")
    assert caught.value.error == "Unsupported operation"
    assert not other.asked


async def test_a_server_that_fails_is_replaced_and_its_error_told_if_all_fail(world: World) -> None:
    """500 may be that server's own trouble."""

    async def fail(holder: Holder) -> Response:
        return JSONResponse(QueryFailedError("a corrupt file").body(), status_code=500)

    bad, good = Holder(0), Holder(0)
    bad.before = fail
    await world.serve(bad, priority=9)
    await world.serve(good)
    assert await world.count(1) == (1, [])
    good.before = fail
    with pytest.raises(QueryError, match="a corrupt file") as caught:
        await world.count(1)
    assert caught.value.status == 500


async def test_the_timeout_of_the_query_holds(world: World) -> None:
    """Whatever the servers do."""

    async def hang(holder: Holder) -> None:
        await trio.sleep_forever()

    holder = Holder(0)
    holder.before = hang
    await world.serve(holder)
    with pytest.raises(QueryTimeoutError):
        await world.count(1, timeout=300)
    assert not world.fan_out.choice._under_way


async def test_many_pieces_are_planned_and_sent_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each asked for once, whatever the size of the parts."""
    monkeypatch.setattr("druidroles.broker.segment_lookup.HOLDERS_AT_ONCE", 2)
    monkeypatch.setattr("druidroles.broker.fanout.PIECES_AT_ONCE", 3)
    monkeypatch.setattr("druidroles.broker.fanout.PIECES_PER_REQUEST", 4)
    holder = Holder(*range(9))
    await world.serve(holder)
    assert await world.count(10) == (9, [])
    assert sorted(holder.asked) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert not world.fan_out.choice._under_way


async def test_pieces_that_a_query_names_are_found(world: World) -> None:
    """Visible or not; one that nobody ever served is missing."""
    holder = Holder(0)
    await world.serve(holder)
    descriptors = [segment(0).descriptor.to_json(), segment(7).descriptor.to_json()]
    named = query() | {"intervals": {"type": "segments", "segments": descriptors}}
    answer = await world.fan_out.answer(parse_query(named), partial=True)
    assert answer.results[0]["result"]["n"] == 1
    assert [one.to_json() for one in answer.missing] == [descriptors[1]]
