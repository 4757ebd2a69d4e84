"""Deleting for good: what is due, how much at a time, and who may ask for it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import httpx2
import pytest

from coordserver.client import Leader
from druidroles.coordinator.duties.kill import KillConfig, KillUnused, span_of
from druidroles.coordinator.duties.overlord_client import KillTaskClient, OverlordError
from druidroles.coordinator.dynamic_config import DynamicConfig
from druidroles.metadata import LeaderEpoch
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY

NOW_MS = 1_000 * MS_PER_DAY
KILL = KillConfig(on=True)


class FakeOverlord:
    """What the Overlord would answer; `tasks` are those it was given."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.epochs: list[str] = []
        self.running: list[dict[str, Any]] = []
        self.capacity = 40
        self.status = 200

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.epochs.append(request.headers["X-Coord-Epoch"])
        path = request.url.path.rpartition("/")[2]
        if self.status != 200:
            return httpx2.Response(self.status, json={"error": "Stale epoch"})
        if path == "task":
            self.tasks.append(json.loads(request.content))
            return httpx2.Response(200, json={"task": self.tasks[-1]["id"]})
        if path == "workers":
            return httpx2.Response(200, json=[{"worker": {"capacity": self.capacity}}])
        return httpx2.Response(200, json=self.running if path == "runningTasks" else [])


class Leaders:
    """A LeaderView that knows."""

    url: str | None = "http://overlord:8090"
    leader = Leader("http://overlord:8090", 1)


@attrs.frozen
class FakeStore:
    """Of the store, the unused segments: their intervals and since when, by datasource."""

    unused: dict[str, list[tuple[Interval, int]]]

    async def data_sources_with_unused(self) -> list[str]:
        return sorted(self.unused)

    async def unused_intervals(self, name: str, ended_ms: int | None, since_ms: int, limit: int) -> list[Interval]:
        found = [i for i, at in self.unused[name] if at <= since_ms and (ended_ms is None or i.end_ms <= ended_ms)]
        return sorted(found)[:limit]


def day(number: int) -> Interval:
    return Interval(number * MS_PER_DAY, (number + 1) * MS_PER_DAY)


class World:
    def __init__(self, unused: dict[str, list[tuple[Interval, int]]]) -> None:
        self.overlord = FakeOverlord()
        self.leaders = Leaders()
        self.dynamic = DynamicConfig()
        transport = httpx2.MockTransport(self.overlord.answer)
        leaders: Any = self.leaders
        self.client = KillTaskClient(
            httpx2.AsyncClient(transport=transport), leaders, LeaderEpoch(role="coordinator", epoch=9)
        )
        self.store: Any = FakeStore(unused)

    def duty(self, config: KillConfig = KILL) -> KillUnused:
        return KillUnused(self.store, self.client, lambda: self.dynamic, config, lambda: NOW_MS)


LONG_AGO = 0


async def test_what_is_due_is_given_to_the_overlord_with_our_epoch() -> None:
    world = World({"wiki": [(day(n), LONG_AGO) for n in (1, 2, 3)]})
    (task_id,) = await world.duty().kill()
    (task,) = world.overlord.tasks
    assert task["id"] == task_id
    assert task_id.startswith("coordinator-issued_kill_wiki_")
    assert (task["type"], task["dataSource"]) == ("kill", "wiki")
    assert Interval.parse(task["interval"]) == Interval(MS_PER_DAY, 4 * MS_PER_DAY)
    assert task["maxUsedStatusLastUpdatedTime"] == "1972-08-28T00:00:00.000Z"
    assert set(world.overlord.epochs) == {"9"}


@pytest.mark.parametrize(
    "unused",
    [
        [(day(950), LONG_AGO)],  # ended within P90D
        [(day(1), NOW_MS - 29 * MS_PER_DAY)],  # unused for less than P30D
        [],
    ],
)
async def test_what_is_not_due_is_kept(unused: list[tuple[Interval, int]]) -> None:
    world = World({"wiki": unused})
    assert await world.duty().kill() == []
    assert world.overlord.tasks == []


async def test_the_time_to_retain_can_be_ignored() -> None:
    world = World({"wiki": [(day(950), LONG_AGO)]})
    assert len(await world.duty(attrs.evolve(KILL, ignore_duration_to_retain=True)).kill()) == 1


async def test_only_named_datasources_within_the_slots_and_one_task_each() -> None:
    world = World({name: [(day(1), LONG_AGO)] for name in "abcdefgh"})
    world.dynamic = DynamicConfig(kill_data_sources=tuple("bcdefgh"))
    world.overlord.running = [{"type": "kill", "dataSource": "b"}, {"type": "index_parallel", "dataSource": "c"}]
    await world.duty().kill()
    assert [task["dataSource"] for task in world.overlord.tasks] == ["c", "d", "e"]  # a tenth of 40 slots, one taken


@pytest.mark.parametrize(
    "dynamic",
    [
        DynamicConfig(pause_coordination=True),
        DynamicConfig(max_kill_task_slots=0),
        DynamicConfig(kill_task_slot_ratio=0.0),
    ],
)
async def test_nothing_is_killed_where_the_configuration_says_so(dynamic: DynamicConfig) -> None:
    world = World({"wiki": [(day(1), LONG_AGO)]})
    world.dynamic = dynamic
    assert await world.duty().kill() == []


async def test_a_deposed_coordinator_and_one_without_an_overlord_kill_nothing() -> None:
    world = World({"wiki": [(day(1), LONG_AGO)]})
    world.overlord.status = 409
    with pytest.raises(OverlordError, match="409"):
        await world.duty().kill()
    world.leaders.url = None
    with pytest.raises(OverlordError, match="no Overlord leads"):
        await world.duty().kill()


async def test_off_by_default() -> None:
    world = World({"wiki": [(day(1), LONG_AGO)]})
    await world.duty(KillConfig()).run()
    assert world.overlord.tasks == []


def test_a_span_is_as_long_as_allowed_and_never_shorter_than_one_segment() -> None:
    month = Interval(0, 31 * MS_PER_DAY)
    assert span_of([], [], MS_PER_DAY) is None
    assert span_of([month, day(40)], [], 30 * MS_PER_DAY) == month
    assert span_of([day(1), day(2), day(50)], [], 30 * MS_PER_DAY) == Interval(MS_PER_DAY, 3 * MS_PER_DAY)


async def test_a_task_goes_over_nothing_that_is_to_be_kept() -> None:
    """A kill task deletes all that is unused within its interval, also what has been unused for a moment only."""
    recently = NOW_MS - MS_PER_DAY
    world = World({"wiki": [(day(1), recently), *((day(n), LONG_AGO) for n in (1, 2, 3)), (day(4), recently)]})
    await world.duty().kill()
    (task,) = world.overlord.tasks
    assert Interval.parse(task["interval"]) == Interval(2 * MS_PER_DAY, 4 * MS_PER_DAY)
