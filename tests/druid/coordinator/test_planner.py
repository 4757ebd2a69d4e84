"""The planner on small clusters: what it orders, in which order, and what it refuses to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from druidroles.coordinator.cluster.copies import Cluster, Server
from druidroles.coordinator.cluster.departures import Departures, DepartureSettings
from druidroles.coordinator.cluster.load_failures import FailureMemory
from druidroles.coordinator.cluster.timers import Timers
from druidroles.coordinator.cluster.used_segments import UsedSegments
from druidroles.coordinator.planning.decisions import CancelDrop, CancelLoad, DropSegment, LoadSegment, MarkUnused
from druidroles.coordinator.planning.planner import plan, planning_overshadowed, release_throttled, take_snapshot
from druidroles.coordinator.planning.state import PlanningLimits, PlanningState
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.rules.verdict import Verdict

DAY_MS = 86_400_000
TIER = "_default_tier"


def segment(day: int, *, version: str = "v1", size: int = 10, data_source: str = "wiki") -> DataSegment:
    return DataSegment(data_source, Interval(day * DAY_MS, (day + 1) * DAY_MS), version, size=size)


class FixedRules:
    def __init__(self, replicas: Mapping[str, int] | None = None) -> None:
        self.verdict_of: Callable[[DataSegment, int], Verdict | None] = lambda s, now: Verdict(replicas or {TIER: 2})

    def verdict(self, segment: DataSegment, wall_ms: int) -> Verdict | None:
        return self.verdict_of(segment, wall_ms)


class SaidOvershadowed:
    """Of some segments those that the test names are overshadowed."""

    def __init__(self, said: set[str]) -> None:
        self.overshadowed: set[str] = set()
        self._said = said
        self._held: set[str] = set()

    def add(self, segment: DataSegment) -> None:
        self._held.add(segment.id)

    def remove(self, segment: DataSegment) -> None:
        self._held.discard(segment.id)

    def update(self, changed: set[str]) -> Iterator[None]:
        after = self._held & self._said
        changed |= after ^ self.overshadowed
        self.overshadowed = after
        yield

    def is_covered(self, segment: DataSegment, counts: Callable[[str], bool]) -> bool:
        return counts(segment.id)


class World:
    """A view, and the servers as they would behave: what is ordered can be carried out."""

    def __init__(self, *, rules: Mapping[str, int] | None = None, limits: PlanningLimits | None = None) -> None:
        self.rules = FixedRules(rules)
        self.overshadowed: set[str] = set()  # to be filled before segments are used
        self.view = PlanningState(
            cluster=Cluster(),
            used=UsedSegments(lambda: SaidOvershadowed(self.overshadowed)),
            rules=self.rules,
            failures=FailureMemory(),
            damping=Departures(DepartureSettings()),
            timers=Timers(),
            limits=limits or PlanningLimits(),
        )
        self.now_ms = 1_000

    @property
    def cluster(self) -> Cluster:
        return self.view.cluster

    def server(self, name: str, *, size: int = 1_000, tier: str = TIER, kind: str = "historical") -> Server:
        return self.cluster.add_server(Server(name, tier, type=kind, max_size=size))

    def use(self, *segments: DataSegment) -> None:
        take_snapshot(self.view, segments, self.now_ms)

    def serve(self, server: Server, *segments: DataSegment) -> None:
        for each in segments:
            self.cluster.add_served(server, each, self.now_ms)

    def plan(self) -> list[object]:
        actions: list[object] = []
        while self.cluster.has_dirt():
            actions += plan(self.view, self.now_ms, wall_ms=self.now_ms)
        return actions

    def leave(self, server: Server, *, stopping: bool = False) -> bool:
        served = self.cluster.remove_server(server.name)
        left = len(list(self.cluster.tier(server.tier)))
        return self.view.damping.left(server.name, server.tier, served, self.now_ms, stopping=stopping, remaining=left)

    def wake(self) -> None:
        for segment_id in self.view.timers.take_due(self.now_ms):
            self.cluster.mark(segment_id)


def test_a_published_segment_is_ordered_to_two_servers_the_first_of_them_primary() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.server(name)
    world.use(segment(1))
    assert world.plan() == [LoadSegment("a", segment(1), primary=True), LoadSegment("b", segment(1), primary=False)]
    assert world.plan() == []


def test_first_copies_of_all_segments_come_before_any_replica() -> None:
    world = World()
    world.server("a")
    world.server("b")
    world.use(*(segment(day) for day in range(5)))
    orders = [a for a in world.plan() if isinstance(a, LoadSegment)]
    assert [o.primary for o in orders] == [True] * 5 + [False] * 5
    assert [o.segment for o in orders[:5]] == [segment(day) for day in (4, 3, 2, 1, 0)]


def test_a_scarce_cluster_holds_one_copy_of_everything_rather_than_two_of_something() -> None:
    world = World()
    world.server("a", size=40)
    world.server("b", size=40)
    world.use(*(segment(day) for day in range(8)))
    orders = [a for a in world.plan() if isinstance(a, LoadSegment)]
    assert sorted(o.segment.id for o in orders) == sorted(segment(day).id for day in range(8))


def test_the_least_full_server_is_chosen() -> None:
    world = World(rules={TIER: 1})
    world.serve(world.server("a"), segment(1), segment(2))
    world.serve(world.server("b"), segment(3))
    world.use(*(segment(day) for day in range(1, 7)))
    orders = [a for a in world.plan() if isinstance(a, LoadSegment)]
    assert [o.server for o in orders] == ["b", "a", "b"]


def test_a_server_without_room_decommissioning_or_of_another_type_is_not_chosen() -> None:
    world = World()
    world.server("small", size=9)
    world.server("leaving").decommissioning = True
    world.server("task", kind="indexer-executor")
    world.use(segment(1))
    assert world.plan() == []
    assert world.view.unplaced == {segment(1).id: TIER}


def test_a_copy_on_a_task_does_not_count() -> None:
    world = World(rules={TIER: 1})
    world.serve(world.server("task", kind="indexer-executor"), segment(1))
    world.server("a")
    world.use(segment(1))
    assert world.plan() == [LoadSegment("a", segment(1), primary=True)]


def test_a_failed_load_is_tried_on_another_server_and_on_the_same_only_after_a_pause() -> None:
    world = World(rules={TIER: 1})
    a, b = world.server("a"), world.server("b")
    world.use(segment(1))
    assert world.plan() == [LoadSegment("a", segment(1), primary=True)]
    for server in (a, b):
        world.view.failures.record(segment(1).id, server.name, "no such file", world.now_ms)
        world.cluster.end_load(server, segment(1).id)
        expected = [LoadSegment("b", segment(1), primary=True)] if server is a else []
        assert world.plan() == expected
    world.now_ms += 29_999
    world.wake()
    assert world.plan() == []
    world.now_ms += 1
    world.wake()
    assert world.plan() == [LoadSegment("a", segment(1), primary=True)]


def test_surplus_copies_are_dropped_from_the_fullest_server() -> None:
    world = World()
    a, b, c = world.server("a"), world.server("b"), world.server("c")
    world.serve(a, segment(1))
    world.serve(b, segment(1), segment(2))
    world.serve(c, segment(1))
    world.use(segment(1), segment(2))
    assert DropSegment("b", segment(1)) in world.plan()


def test_a_tier_shift_never_lowers_the_number_of_copies_served() -> None:
    world = World(rules={"hot": 2})
    old = [world.server("a"), world.server("b")]
    new = [world.server("c", tier="hot"), world.server("d", tier="hot")]
    for server in old:
        world.serve(server, segment(1))
    world.use(segment(1))
    assert {type(a) for a in world.plan()} == {LoadSegment}
    world.serve(new[0], segment(1))
    assert world.plan() == [DropSegment("a", segment(1))]
    world.serve(new[1], segment(1))
    assert world.plan() == [DropSegment("b", segment(1))]


def test_an_unused_segment_is_dropped_only_on_a_read_begun_after_its_announcement() -> None:
    world = World()
    a = world.server("a")
    world.use()
    world.now_ms += 1
    world.serve(a, segment(1))
    assert world.plan() == []
    assert segment(1).id in world.view.awaiting_read
    world.use()
    assert world.plan() == []
    world.now_ms += 1
    world.use()
    assert world.plan() == [DropSegment("a", segment(1))]


def test_loads_of_a_segment_that_is_used_no_more_are_taken_back_unless_started() -> None:
    world = World()
    world.server("a")
    b = world.server("b")
    world.use(segment(1))
    world.plan()
    b.loading[segment(1).id].started = True
    world.now_ms += 1
    world.use()
    assert world.plan() == [CancelLoad("a", segment(1).id)]


def test_a_drop_on_its_way_is_taken_back_when_the_copy_is_needed_again() -> None:
    world = World()
    a, b, c = world.server("a"), world.server("b"), world.server("c")
    for server in (a, b, c):
        world.serve(server, segment(1))
    world.use(segment(1))
    assert world.plan() == [DropSegment("a", segment(1))]
    world.leave(b)
    world.now_ms += 60_000
    assert world.plan() == [CancelDrop("a", segment(1).id)]


def test_a_segment_without_a_copy_left_is_ordered_at_once_and_other_replicas_after_the_grace() -> None:
    world = World()
    a, b = world.server("a"), world.server("b")
    world.server("c")
    world.rules.verdict_of = lambda s, now: Verdict({TIER: 1 if s == segment(3) else 2})
    world.serve(a, segment(2), segment(3))
    world.serve(b, segment(2))
    world.use(segment(2), segment(3))
    assert world.plan() == []
    world.leave(a)
    assert [(o.segment, o.primary) for o in world.plan() if isinstance(o, LoadSegment)] == [(segment(3), True)]
    world.now_ms += 9_999
    world.wake()
    assert world.plan() == []
    world.now_ms += 1
    world.wake()
    assert world.plan() == [LoadSegment("c", segment(2), primary=False)]


def test_nothing_moves_when_the_server_comes_back_within_the_grace() -> None:
    world = World()
    a, b = world.server("a"), world.server("b")
    world.server("c")
    for server in (a, b):
        world.serve(server, segment(1))
    world.use(segment(1))
    world.leave(a)
    assert world.plan() == []
    world.now_ms += 5_000
    again = world.server("a")
    world.view.damping.came("a", world.now_ms)
    world.serve(again, segment(1))
    world.now_ms += 60_000
    world.wake()
    assert world.plan() == []


def test_when_much_of_a_tier_leaves_together_only_first_copies_are_loaded() -> None:
    world = World()
    servers = [world.server(name) for name in "abcdef"]
    for server in servers[:3]:
        world.serve(server, segment(1), segment(2))
    world.serve(servers[0], segment(3))
    world.serve(servers[1], segment(3))
    world.rules.verdict_of = lambda s, now: Verdict({TIER: 3 if s != segment(3) else 2})
    world.use(segment(1), segment(2), segment(3))
    assert world.plan() == []
    assert world.leave(servers[0]) is False
    assert world.leave(servers[1]) is True
    assert [(o.segment, o.primary) for o in world.plan() if isinstance(o, LoadSegment)] == [(segment(3), True)]
    world.now_ms += 60_000
    world.wake()
    assert world.plan() == []


def test_replicas_in_flight_are_limited_and_go_on_when_others_finish() -> None:
    world = World(limits=PlanningLimits(replicas_in_flight=2))
    a, b = world.server("a"), world.server("b")
    world.use(*(segment(day) for day in range(5)))
    orders = [o for o in world.plan() if isinstance(o, LoadSegment)]
    assert [o.primary for o in orders].count(False) == 2
    done = next(o for o in orders if not o.primary)
    world.serve(a if done.server == "a" else b, done.segment)
    release_throttled(world.view)
    assert [o.primary for o in world.plan() if isinstance(o, LoadSegment)] == [False]


def test_a_drop_rule_marks_unused_and_no_rule_does_nothing() -> None:
    world = World()
    world.server("a")
    world.rules.verdict_of = lambda s, now: Verdict(drop=True) if s == segment(1) else None
    world.use(segment(1), segment(2))
    assert world.plan() == [MarkUnused(segment(1).id, "a rule drops it")]
    assert list(world.view.without_rule) == [segment(2).id]


def test_a_period_rule_is_looked_at_again_when_its_verdict_may_change() -> None:
    world = World(rules={TIER: 1})
    world.serve(world.server("a"), segment(1))
    start_ms = world.now_ms
    world.rules.verdict_of = lambda s, now: (
        Verdict(drop=True) if now >= start_ms + 500 else Verdict({TIER: 1}, until_ms=start_ms + 500)
    )
    world.use(segment(1))
    assert world.plan() == []
    assert world.view.timers.next_ms() == start_ms + 500
    world.now_ms += 500
    world.wake()
    assert world.plan() == [MarkUnused(segment(1).id, "a rule drops it")]


def test_an_overshadowed_segment_is_not_loaded_and_marked_unused_after_fifteen_minutes_of_leadership() -> None:
    world = World()
    a = world.server("a")
    world.overshadowed |= {segment(1).id, segment(2).id}
    world.serve(a, segment(1))
    world.use(segment(1), segment(2))
    assert world.plan() == []
    world.view.leading_since_ms = world.now_ms
    world.now_ms += 899_999
    assert list(planning_overshadowed(world.view, world.now_ms, world.now_ms)) == []
    world.now_ms += 1
    marks = list(planning_overshadowed(world.view, world.now_ms, world.now_ms))
    assert [m.segment_id for m in marks if m is not None] == [segment(1).id]


@pytest.mark.parametrize("zero", [{}, {TIER: 0}])
def test_a_rule_of_zero_replicas_keeps_the_data_in_deep_storage_only(zero: dict[str, int]) -> None:
    world = World()
    world.rules.verdict_of = lambda s, now: Verdict(zero)
    world.serve(world.server("a"), segment(1))
    world.use(segment(1), segment(2))
    assert world.plan() == [DropSegment("a", segment(1))]


def test_a_drop_that_failed_is_ordered_again_after_a_pause_only() -> None:
    """It was ordered again at once, refused again, and so on without end."""
    world = World(rules={TIER: 1})
    a = world.server("a")
    world.serve(a, segment(1))
    world.now_ms += 1
    world.use()
    assert world.plan() == [DropSegment("a", segment(1))]
    failure = world.view.failures.record(segment(1).id, "a", "refused", world.now_ms)
    world.cluster.end_drop(a, segment(1).id)
    assert world.plan() == []
    world.now_ms = failure.until_ms
    world.wake()
    assert world.plan() == [DropSegment("a", segment(1))]


def test_a_surplus_copy_is_dropped_where_that_has_not_just_failed() -> None:
    world = World(rules={TIER: 1})
    for name in ("a", "b"):
        world.serve(world.server(name), segment(1))
    world.use(segment(1))
    (order,) = [each for each in world.plan() if isinstance(each, DropSegment)]
    world.view.failures.record(segment(1).id, order.server, "refused", world.now_ms)
    world.cluster.end_drop(world.cluster.servers[order.server], segment(1).id)
    other = "b" if order.server == "a" else "a"
    assert world.plan() == [DropSegment(other, segment(1))]


@pytest.mark.parametrize("version", ["v 1/ü", "v😀"])
def test_what_no_load_queue_can_hold_is_neither_loaded_nor_dropped(version: str) -> None:
    world = World()
    bad = segment(1, version=version)
    world.server("a")
    world.use(bad)
    assert world.plan() == []
    world.serve(world.server("b"), bad)
    world.now_ms += 1
    world.use()
    assert world.plan() == []
    assert not world.cluster.has_dirt()
