"""Moves: from the order over both copies to the drop, what takes them back, and what is never moved."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import attrs
import pytest

from druidroles.coordinator.cluster.copies import Cluster, Server
from druidroles.coordinator.cluster.departures import Departures, DepartureSettings
from druidroles.coordinator.cluster.load_failures import FailureMemory
from druidroles.coordinator.cluster.timers import Timers
from druidroles.coordinator.cluster.used_segments import UsedSegments
from druidroles.coordinator.planning.balancing import Balancing
from druidroles.coordinator.planning.decisions import CancelLoad, DropSegment, LoadSegment, MoveSegment
from druidroles.coordinator.planning.planner import (
    marking_everything,
    plan,
    release_throttled,
    release_unplaced,
    take_snapshot,
)
from druidroles.coordinator.planning.state import PlanningLimits, PlanningState
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment
from druidroles.rules.rules import Rules

TIER = "_default_tier"


def segment(day: int) -> DataSegment:
    return DataSegment("wiki", Interval(day * MS_PER_DAY, (day + 1) * MS_PER_DAY), "v1", size=10)


class World:
    """One tier; two servers share `days` segments, one copy each."""

    def __init__(self, days: int = 8, replicas: int = 1) -> None:
        self.rule: dict[str, object] = {"type": "loadForever", "tieredReplicants": {TIER: replicas}}
        self.view = PlanningState(
            cluster=Cluster(),
            used=UsedSegments(),
            rules=Rules({"_default": [self.rule]}),
            failures=FailureMemory(),
            damping=Departures(DepartureSettings()),
            timers=Timers(),
            limits=PlanningLimits(moves_in_flight=100),
        )
        self.balancing = Balancing(self.view, Random(1))
        self.now_ms = 1_000
        self.days = [segment(day) for day in range(days)]
        take_snapshot(self.view, self.days, self.now_ms)
        self.one, self.two = self.server("one"), self.server("two")
        for day in self.days:
            server = self.one if day.interval.start_ms % (2 * MS_PER_DAY) else self.two
            self.view.cluster.add_served(server, day, self.now_ms)
        assert self.plan() == []

    def server(self, name: str, size: int = 1_000) -> Server:
        server = self.view.cluster.add_server(Server(name, TIER, max_size=size))
        self.balancing.stir([TIER])
        return server

    def plan(self) -> list[object]:
        actions: list[object] = []
        while self.view.cluster.has_dirt():
            actions += plan(self.view, self.now_ms, self.now_ms)
        return actions

    def balance(self) -> list[MoveSegment]:
        moves: list[MoveSegment] = []
        while self.balancing.wants(self.now_ms):
            moves += self.balancing.plan(self.now_ms, self.now_ms, 10)
        return moves

    def serve(self, move: MoveSegment) -> None:
        self.view.cluster.add_served(self.view.cluster.servers[move.server], move.segment, self.now_ms)


def test_a_server_that_joins_is_used_at_once_and_the_source_drops_only_when_the_target_serves() -> None:
    """Complaint #15628: a new server stayed idle until the run had ended."""
    world = World()
    three = world.server("three")
    moves = world.balance()
    assert moves
    assert {move.server for move in moves} == {"three"}
    assert all(world.view.cluster.copies(move.segment.id) == 1 for move in moves)
    for _ in marking_everything(world.view):
        pass
    assert world.plan() == []
    world.serve(moves[0])
    assert world.plan() == [DropSegment(moves[0].source, moves[0].segment)]
    source = world.view.cluster.servers[moves[0].source]
    world.view.cluster.remove_served(source, moves[0].segment.id)
    assert world.plan() == []
    assert moves[0].segment.id in three.served


def test_moves_in_flight_are_limited_and_go_on_when_others_end() -> None:
    world = World()
    world.view.limits = PlanningLimits(moves_in_flight=1)
    world.server("three")
    (move,) = world.balance()
    assert world.balance() == []
    world.serve(move)
    world.plan()
    assert len(world.balance()) == 1


def test_a_move_that_fails_leaves_the_copy_where_it_is() -> None:
    world = World()
    three = world.server("three")
    (move, *_) = world.balance()
    before = world.view.cluster.servers[move.source].costs.cost(move.segment)
    world.view.failures.record(move.segment.id, "three", "disk", world.now_ms)
    world.view.cluster.end_load(three, move.segment.id)
    assert world.plan() == []
    source = world.view.cluster.servers[move.source]
    assert not source.leaving.get(move.segment.id)
    assert source.costs.cost(move.segment) > before
    assert all(again.segment != move.segment for again in world.balance())


def test_when_the_source_goes_the_move_is_the_copy_that_is_wanted() -> None:
    world = World()
    world.server("three")
    (move, *_) = world.balance()
    source = world.view.cluster.servers[move.source]
    world.view.damping.left(
        source.name, TIER, world.view.cluster.remove_server(source.name), 0, stopping=False, remaining=2
    )
    orders = [o for o in world.plan() if isinstance(o, LoadSegment)]
    assert move.segment not in [order.segment for order in orders]


def test_when_the_target_goes_before_the_drop_the_source_keeps_its_copy() -> None:
    world = World()
    three = world.server("three")
    (move, *_) = world.balance()
    world.serve(move)
    world.view.cluster.remove_server(three.name)
    assert not [a for a in world.plan() if isinstance(a, DropSegment)]
    assert not world.view.cluster.servers[move.source].leaving


def test_moves_are_taken_back_when_the_rule_wants_no_copy_any_more() -> None:
    world = World()
    world.server("three")
    moves = world.balance()
    world.view.rules = Rules({"_default": [{"type": "loadForever", "tieredReplicants": {}}]})
    for _ in marking_everything(world.view):
        pass
    actions = world.plan()
    assert {CancelLoad("three", move.segment.id) for move in moves} <= set(actions)
    assert sum(isinstance(a, DropSegment) for a in actions) == len(world.days)


def test_a_decommissioning_server_is_emptied_whatever_that_costs_and_gets_nothing() -> None:
    world = World()
    world.one.decommissioning = True
    world.balancing.stir([TIER])
    moves = world.balance()
    assert {move.segment.id for move in moves} == set(world.one.served)
    assert {move.server for move in moves} == {"two"}
    for move in moves:
        world.serve(move)
    assert {type(a) for a in world.plan()} == {DropSegment}
    take_snapshot(world.view, [*world.days, segment(99)], world.now_ms)
    assert world.plan() == [LoadSegment("two", segment(99), primary=True)]


def test_a_copy_too_many_is_dropped_from_the_decommissioning_server_first() -> None:
    world = World()
    world.two.decommissioning = True
    for day in world.days:
        for server in (world.one, world.two):
            world.view.cluster.add_served(server, day, world.now_ms)
    dropped = {a.server for a in world.plan() if isinstance(a, DropSegment)}
    assert dropped == {"two"}


def test_what_waits_for_room_on_a_full_tier_moves_when_there_is_room() -> None:
    world = World()
    world.two.max_size = 40
    world.one.decommissioning = True
    world.balancing.stir([TIER])
    assert world.balance() == []
    world.balancing.stir_if_changed()
    world.server("three")
    release_unplaced(world.view, TIER)
    assert len(world.balance()) == 4


@pytest.mark.parametrize("why", ["mass departure", "grace", "throttle"])
def test_nothing_moves_while_the_tier_is_disturbed(why: str) -> None:
    world = World()
    world.server("three")
    if why == "mass departure":
        for name in ("x", "y"):
            world.view.damping.left(name, TIER, [], world.now_ms, stopping=False, remaining=1)
    elif why == "grace":
        world.view.damping.left("x", TIER, [d.id for d in world.days], world.now_ms, stopping=True, remaining=9)
    else:
        world.view.limits = PlanningLimits(moves_in_flight=0)
    assert world.balance() == []


def test_a_settled_tier_costs_nothing_until_it_is_stirred() -> None:
    world = World()
    world.balance()
    assert not world.balancing.wants(world.now_ms)
    world.balancing.stir_if_changed()
    while world.balance():
        pytest.fail("nothing is to be gained")
    world.balancing.stir_if_changed()
    assert not world.balancing.wants(world.now_ms)


def test_nothing_is_moved_while_much_is_loaded_unless_a_server_is_to_be_emptied() -> None:
    world = World()
    empty = world.server("three")
    world.view.limits = PlanningLimits(moves_in_flight=3)
    for day in range(100, 103):
        world.view.cluster.begin_load(world.two, segment(day), primary=False)
    assert not world.balancing.wants(world.now_ms)
    assert world.balance() == []
    world.one.decommissioning = True
    assert {(move.source, move.server) for move in world.balance()} == {("one", "three")}
    for move in list(empty.loading):
        world.view.cluster.end_load(empty, move)
    world.one.decommissioning = False
    world.view.cluster.end_load(world.two, segment(100).id)
    assert world.balance()


def loaded_cluster(servers: int, sources: int, days: int) -> World:
    """Two copies of everything, placed by the planner alone."""
    world = World(days=0, replicas=2)
    world.one.max_size = world.two.max_size = 10_000_000
    for number in range(servers - 2):
        world.server(f"server{number}", size=10_000_000)
    take_snapshot(
        world.view,
        [attrs.evolve(segment(day), data_source=f"source{source}") for day in range(days) for source in range(sources)],
        world.now_ms,
    )
    carry_out(world, world.plan())
    return world


def carry_out(world: World, actions: Iterable[object]) -> None:
    """All that is ordered happens at once, and what follows from it."""
    while actions:
        for action in actions:
            assert isinstance(action, (LoadSegment, MoveSegment, DropSegment))
            server = world.view.cluster.servers[action.server]
            if isinstance(action, DropSegment):
                world.view.cluster.remove_served(server, action.segment.id)
            else:
                world.view.cluster.add_served(server, action.segment, world.now_ms)
        release_throttled(world.view)
        actions = world.plan()


def settle(world: World) -> int:
    """Balance until nothing is found; how many moves that took."""
    moved = 0
    while world.balancing.wants(world.now_ms):
        moves = world.balancing.plan(world.now_ms, world.now_ms, 10)
        moved += len(moves)
        carry_out(world, moves)
    return moved


@pytest.mark.parametrize(("sources", "days"), [(8, 60), (5, 100), (1, 300)])
def test_servers_that_join_get_their_share_and_little_else_moves(sources: int, days: int) -> None:
    world = loaded_cluster(8, sources, days)
    copies = 2 * sources * days
    assert settle(world) <= 0.02 * copies
    world.server("ninth", size=10_000_000)
    world.server("tenth", size=10_000_000)
    assert 0.19 * copies <= settle(world) <= 0.25 * copies
    counts = [len(server.served) for server in world.view.cluster.tier(TIER)]
    assert max(counts) - min(counts) <= 5
    world.balancing.stir([TIER])
    assert settle(world) <= 0.01 * copies
    for name in ("ninth", "server3"):
        world.view.cluster.remove_server(name)
    carry_out(world, world.plan())
    world.balancing.stir([TIER])
    assert settle(world) <= 0.05 * copies
