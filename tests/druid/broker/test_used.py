"""Following the used segments: what is read, when, and what a failure leaves in place. In virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import pytest
import trio
import trio.testing

from druidroles.broker.used_segments_feed import UsedSegmentsFeed
from druidroles.coordination.changes import Revision
from druidroles.coordination.leaders import LeaderView
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment

SEGMENTS = [DataSegment("d", Interval(day, day + 1), "1") for day in range(3)]
GOOD = (200, json.dumps([segment.to_json() for segment in SEGMENTS]).encode())


class Leaders:
    """A view of the latch that the test writes."""

    def __init__(self) -> None:
        self.url: str | None = "http://first"
        self.revision = Revision()

    async def changed(self, seen: int | None = None) -> int:
        """As a view's."""
        return await self.revision.passed(seen)


class World:
    """A follower, a Coordinator that answers what the test says, and what was taken from it."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] | Exception = GOOD
        self.asked: list[str] = []
        self.taken: list[tuple[set[str], int]] = []
        self.mark = 7
        self.leaders = Leaders()
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._respond))
        self.used = UsedSegmentsFeed(http, cast(LeaderView, self.leaders), lambda: self.mark, self._take)

    async def _respond(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        self.mark += 1  # what comes while the answer is made is younger than the reading
        if isinstance(self.answer, Exception):
            raise self.answer
        return httpx2.Response(self.answer[0], content=self.answer[1])

    async def _take(self, ids: Collection[str], mark: int) -> None:
        self.taken.append((set(ids), mark))


@asynccontextmanager
async def following() -> AsyncIterator[World]:
    """A follower that runs, after its first reading."""
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.used.run)
        await world.used.done.passed(0)
        yield world
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_the_ids_are_taken_with_the_mark_of_the_beginning(autojump_clock: trio.testing.MockClock) -> None:
    """At once at the start; then every minute."""
    async with following() as world:
        assert world.taken == [({segment.id for segment in SEGMENTS}, 7)]
        assert world.asked == ["http://first/druid/coordinator/v1/metadata/segments"]
        await trio.sleep(125)
        assert len(world.taken) == 3


async def test_an_id_is_made_where_none_is_written(autojump_clock: trio.testing.MockClock) -> None:
    """Druid leaves it out where it can be told from the rest."""
    async with following() as world:
        bare = {key: value for key, value in SEGMENTS[0].to_json().items() if key != "identifier"}
        world.answer = (200, json.dumps([bare]).encode())
        await world.used.refresh()
        assert world.taken[-1][0] == {SEGMENTS[0].id}


@pytest.mark.parametrize(
    "fault",
    [
        (500, b""),
        (200, b"[{}"),
        (200, b'[{"dataSource": "d"}]'),
        httpx2.ConnectError("refused"),
    ],
)
async def test_a_failure_leaves_what_is_known_and_is_tried_again(
    autojump_clock: trio.testing.MockClock, fault: Any
) -> None:
    """Soon, and again and again; whoever waits for a reading gets one when it succeeds."""
    async with following() as world:
        world.answer = fault
        with trio.move_on_after(10) as waiting:
            await world.used.refresh()
        assert waiting.cancelled_caught
        assert len(world.asked) > 5
        assert len(world.taken) == 1
        world.answer = GOOD
        await world.used.refresh()
        assert len(world.taken) >= 2


async def test_a_new_leader_is_asked_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """No Coordinator, then another: no waiting for the next try, which would be a second later."""
    async with following() as world:
        world.leaders.url = None
        world.leaders.revision.bump()
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.used.refresh)
            await trio.sleep(0.5)
            assert len(world.asked) == 1
            world.answer = (200, b"[]")
            world.leaders.url = "http://second"
            world.leaders.revision.bump()
        assert world.asked[-1].startswith("http://second/")
        assert world.taken[-1][0] == set()
        assert trio.current_time() == begun + 0.5
