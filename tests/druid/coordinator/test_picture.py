"""How long what a server leaves is waited for: by what it said before it went, and by who went with it."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from druidroles.coordination.changes import Deltas
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.status import StatusView
from druidroles.coordinator.loading.load_queue_peon import LoadQueuePeon
from druidroles.coordinator.planning.decisions import LoadSegment
from druidroles.coordinator.planning.planner import plan, take_snapshot
from druidroles.coordinator.settings import TermSettings, make_view
from druidroles.coordinator.tree_feed import TreeFeed
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata

TIER = "_default_tier"


def segment(day: int) -> DataSegment:
    return DataSegment("wiki", Interval(day * MS_PER_DAY, (day + 1) * MS_PER_DAY), "v1", size=10)


class Inventory:
    """Announced servers, as the test announces them."""

    def __init__(self) -> None:
        self.servers: dict[str, DruidServerMetadata] = {}
        self.served: dict[str, dict[str, DataSegment]] = {}
        self.server_deltas: Deltas[str, DruidServerMetadata] = Deltas()
        self.segment_deltas: Deltas[tuple[str, str], DataSegment] = Deltas()

    def segments_of(self, name: str) -> dict[str, DataSegment]:
        return self.served.get(name, {})

    def come(self, name: str, *segments: DataSegment) -> None:
        metadata = self.servers[name] = DruidServerMetadata(name, host=name, max_size=1_000)
        self.server_deltas.put(name, None, metadata)
        self.served[name] = {each.id: each for each in segments}
        for each in segments:
            self.segment_deltas.put((name, each.id), None, each)

    def go(self, name: str) -> None:
        self.server_deltas.put(name, self.servers.pop(name), None)
        for each in self.served.pop(name).values():
            self.segment_deltas.put((name, each.id), each, None)


class World:
    """Four servers; `a` and `b` have everything."""

    def __init__(self, days: int = 3) -> None:
        self.view = make_view(TermSettings(), 0)
        self.inventory = Inventory()
        self.statuses: dict[str, dict[str, Any]] = {}
        queues: Any = type("Queues", (), {"of_server": lambda self, name: {}, "deltas": Deltas()})()
        statuses: Any = type("Statuses", (), {"statuses": self.statuses})()
        executor = LoadQueuePeon(self.view, queues, cast(Any, None), 1, lambda: self.now_ms)
        self.picture = TreeFeed(self.view, cast(ServerInventory, self.inventory), cast(StatusView, statuses), executor)
        self.now_ms = 1_000
        self.days = [segment(day) for day in range(days)]
        for name in "abcd":
            self.inventory.come(name, *(self.days if name in "ab" else ()))
        self.picture.build(self.now_ms)
        take_snapshot(self.view, self.days, self.now_ms)
        assert self.orders() == []

    def follow(self) -> None:
        self.picture.follow(self.now_ms)

    def orders(self) -> list[LoadSegment]:
        for segment_id in self.view.timers.take_due(self.now_ms):
            self.view.cluster.mark(segment_id)
        found: list[Any] = []
        while self.view.cluster.has_dirt():
            found += plan(self.view, self.now_ms, self.now_ms)
        return found

    def waited_ms(self) -> int:
        """How long it takes until something is ordered."""
        begun = self.now_ms
        while not self.orders():
            due = self.view.timers.next_ms()
            assert due is not None
            self.now_ms = due
        return self.now_ms - begun


@pytest.mark.parametrize(("said", "waited_ms"), [({}, 10_000), ({"stopping": True}, 60_000)])
def test_one_that_said_that_it_stops_is_waited_for_longer_than_one_that_vanished(
    said: dict[str, Any], waited_ms: int
) -> None:
    world = World()
    world.statuses["a"] = {"currSize": 30, **said}
    world.inventory.go("a")
    world.follow()
    assert world.waited_ms() == waited_ms


def test_it_is_known_also_when_the_status_went_before_the_announcement() -> None:
    world = World()
    world.statuses["a"] = {"stopping": True}
    world.follow()
    assert world.view.cluster.servers["a"].stopping
    del world.statuses["a"]
    world.inventory.go("a")
    world.picture._statuses.statuses.clear()
    world.view.cluster.servers["a"].stopping = True
    world.follow()
    assert world.waited_ms() == 60_000


def test_one_that_is_about_to_stop_gets_nothing_more() -> None:
    world = World()
    for name in "acd":
        world.statuses[name] = {"stopping": True}
    world.follow()
    take_snapshot(world.view, [*world.days, segment(9)], world.now_ms)
    assert {order.server for order in world.orders()} == {"b"}


def test_one_that_comes_back_in_time_moves_nothing() -> None:
    world = World()
    world.statuses["a"] = {"stopping": True}
    world.inventory.go("a")
    world.follow()
    world.now_ms += 50_000
    assert world.orders() == []
    world.statuses["a"] = {}
    world.inventory.come("a", *world.days)
    world.follow()
    world.now_ms += 600_000
    assert world.orders() == []
    assert not world.view.cluster.servers["a"].stopping


def test_a_large_part_of_a_tier_that_leaves_at_once_loads_first_copies_only_and_alerts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    alone = segment(9)
    world.inventory.segment_deltas.put(("b", alone.id), None, alone)
    take_snapshot(world.view, [*world.days, alone], world.now_ms)
    world.follow()
    for order in world.orders():
        world.view.cluster.add_served(world.view.cluster.servers[order.server], order.segment, world.now_ms)
    holders = [s.name for s in world.view.cluster.holders(alone.id)]
    with caplog.at_level(logging.WARNING):
        for name in holders:
            world.inventory.served.setdefault(name, {})
            world.inventory.go(name)
        world.follow()
    assert "a large part of tier _default_tier left together" in caplog.text
    firsts = world.orders()
    assert [(order.segment.id, order.primary) for order in firsts if order.segment == alone] == [(alone.id, True)]
    assert all(order.primary for order in firsts)
    world.now_ms += 599_000
    assert world.orders() == []
