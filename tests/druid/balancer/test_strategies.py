"""Choosing a server, and moves that come to an end."""

from __future__ import annotations

from collections import Counter
from random import Random

import attrs
import pytest

from druidroles.balancer.cost import ServerCosts
from druidroles.balancer.strategies import (
    BalancerStrategy,
    CostStrategy,
    DiskNormalizedStrategy,
    RandomStrategy,
    RoundRobinStrategy,
    strategy_named,
)
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment


@attrs.define(eq=False)
class Holder:
    """A server."""

    name: str
    fill: float = 0.5
    costs: ServerCosts = attrs.field(factory=ServerCosts)
    held: set[str] = attrs.field(factory=set)

    def take(self, segment: DataSegment) -> None:
        self.costs.add(segment)
        self.held.add(segment.id)

    def fill_with(self, more_bytes: int) -> float:
        return self.fill + (len(self.held) + more_bytes) / 10_000

    def give(self, segment: DataSegment) -> None:
        self.costs.remove(segment)
        self.held.discard(segment.id)


def segment(day: int, data_source: str = "wiki", version: str = "v1") -> DataSegment:
    return DataSegment(data_source, Interval(day * MS_PER_DAY, (day + 1) * MS_PER_DAY), version)


def test_a_load_goes_where_its_neighbours_are_not() -> None:
    a, b = Holder("a", fill=0.1), Holder("b", fill=0.9)
    a.take(segment(1))
    b.take(segment(60))
    b.take(segment(61))
    assert CostStrategy().for_load(segment(2), [a, b]) is b
    assert RoundRobinStrategy().for_load(segment(2), [a, b]) is a
    assert CostStrategy().for_load(segment(2), []) is None


def test_round_robin_is_even_and_mixes_what_comes_in_step_with_the_servers() -> None:
    """Ten segments a day, one of each datasource, on ten servers: by turns alone each would get one datasource."""
    strategy, servers = RoundRobinStrategy(), [Holder(name) for name in "abcdefghij"]
    for day in range(60):
        for source in range(10):
            each = attrs.evolve(segment(day, f"source{source}"), size=1)
            server = strategy.for_load(each, servers)
            assert server is not None
            server.take(each)
            server.fill += 1 / 100
    assert {len(server.held) for server in servers} == {60}
    most = max(Counter(i.partition("_")[0] for i in server.held).most_common(1)[0][1] for server in servers)
    assert most <= 15
    everywhere = [(each, server) for server in servers for each in server.held]
    segments = {each.id: each for each in (segment(d, f"source{s}") for d in range(60) for s in range(10))}
    moves = [
        CostStrategy().for_move(segments[i], server, [s for s in servers if s is not server])
        for i, server in everywhere
    ]
    assert sum(move is not None for move in moves) < 60


def test_disk_normalized_prefers_the_emptier_of_equals() -> None:
    a, b = Holder("a", fill=0.9), Holder("b", fill=0.2)
    for server in (a, b):
        server.take(segment(1))
    assert DiskNormalizedStrategy().for_load(segment(2), [a, b]) is b
    assert DiskNormalizedStrategy().for_move(segment(1), a, [b]) is None


@pytest.mark.parametrize("strategy", [CostStrategy(), RandomStrategy(Random(1)), RoundRobinStrategy()])
def test_what_is_well_placed_stays(strategy: BalancerStrategy) -> None:
    a, b = Holder("a"), Holder("b")
    for day in range(10):
        (a if day % 2 else b).take(segment(day))
    assert all(strategy.for_move(segment(day), a, [b]) is None for day in range(1, 10, 2))


def test_a_difference_of_rounding_moves_nothing() -> None:
    a, b = Holder("a"), Holder("b")
    a.take(segment(0))
    a.take(segment(400))
    assert CostStrategy().for_move(segment(0), a, [b]) is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("strategy", ["cost", "diskNormalized"])
def test_moves_come_to_an_end_and_leave_servers_even(seed: int, strategy: str) -> None:
    random = Random(seed)
    chosen = strategy_named(strategy, random)
    servers = [Holder(name) for name in "abcdef"]
    where: dict[DataSegment, Holder] = {}
    for source, days in (("wiki", 90), ("clicks", 40)):
        for day in range(days):
            where[segment(day, source)] = random.choice(servers[:2])
    for each, server in where.items():
        server.take(each)
    moves = Counter[str]()
    while True:
        before = moves.total()
        for each in random.sample(list(where), len(where)):
            source = where[each]
            target = chosen.for_move(each, source, [s for s in servers if s is not source])
            if target is not None:
                source.give(each)
                target.take(each)
                where[each] = target
                moves[each.id] += 1
        if moves.total() == before:
            break
    assert max(moves.values()) <= 6
    counts = [len(server.held) for server in servers]
    assert max(counts) - min(counts) <= 6


def test_names_are_druids() -> None:
    assert isinstance(strategy_named("cachingCost", Random(1)), CostStrategy)
    assert isinstance(strategy_named("random", Random(1)), RandomStrategy)
    with pytest.raises(ValueError, match="cheapest"):
        strategy_named("cheapest", Random(1))
