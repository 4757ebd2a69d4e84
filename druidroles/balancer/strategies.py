"""Strategies that choose a server for a segment (Druid's BalancerStrategy: cost, diskNormalized, random).

A move copies bytes, so its gain must be worth them. The target must be cheaper by a fraction of the cost, and by more
than a rounding error. Each move of the cost strategy lowers the sum of the costs of all pairs on all servers. A
sequence of moves therefore always ends, and no segment moves back and forth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from druidroles.balancer.cost import ServerCosts, own_cost
from druidroles.model.segment import DataSegment

# The least gain of a move to a server that is emptier and stays emptier, as a fraction of the cost at the source.
GAIN_PART = 0.05
# The same for a move to any other server. The gain must also exceed the segment's cost with itself. Among equally
# full servers chance alone makes differences, and they are larger when there are fewer segments.
GAIN_PART_EVEN = 0.25
# The least gain of any move, as a fraction of the segment's cost with itself or of 1.0, whichever is smaller. 1.0 is
# the most that two adjacent intervals of any length cost together.
GAIN_OF_OWN = 0.001

# The generator of the C standard's rand(). Its numbers have no pattern in common with the order of segments.
_FACTOR, _SUMMAND, _MODULUS = 1_103_515_245, 12_345, 1 << 31


class Candidate(Protocol):
    """The properties of a server that strategies use."""

    @property
    def costs(self) -> ServerCosts:
        """The segments of the server, as the cost function needs them."""

    def fill_with(self, more_bytes: int) -> float:
        """Return the fraction of its size that the server would use after adding `more_bytes`."""


class RandomChoice(Protocol):
    """The part of `random.Random` that RandomStrategy uses."""

    def randrange(self, stop: int, /) -> int:
        """Return a number from 0 up to and without `stop`."""


C = TypeVar("C", bound=Candidate)


class BalancerStrategy(Protocol):
    """Chooses the server for a segment."""

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        """Return the best of `candidates` to load a segment. Returns None if there are no candidates.

        No candidate has the segment yet.
        """

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        """Return the server to which the segment should move from `source`, or None if it should stay."""


def _find_cheapest(costs: Sequence[float]) -> int:
    return min(range(len(costs)), key=costs.__getitem__)


class CostStrategy:
    """Chooses the server on which the segment has the lowest cost."""

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        if not candidates:
            return None
        return candidates[_find_cheapest([self._cost_on(server, segment) for server in candidates])]

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        if not candidates:
            return None
        own = own_cost(segment)
        here = self.weigh(max(source.costs.cost(segment) - own, 0.0), source.fill_with(0))
        costs = [self._cost_on(server, segment) for server in candidates]
        best = _find_cheapest(costs)
        emptier = candidates[best].fill_with(segment.size) < source.fill_with(-segment.size)
        least = GAIN_PART * here if emptier else max(GAIN_PART_EVEN * here, own)
        return candidates[best] if here - costs[best] > max(least, GAIN_OF_OWN * min(own, 1.0)) else None

    def _cost_on(self, server: Candidate, segment: DataSegment) -> float:
        return self.weigh(server.costs.cost(segment), server.fill_with(segment.size))

    def weigh(self, cost: float, fill: float) -> float:
        """Return the value by which servers are compared.

        `fill` is the fraction of its size that the server uses when it holds the segment.
        """
        return cost


class DiskNormalizedStrategy(CostStrategy):
    """Multiplies the cost by the fraction of the disk in use, which prefers the emptier of two equal servers."""

    def weigh(self, cost: float, fill: float) -> float:
        return cost * fill


class RandomStrategy:
    """Chooses every server with equal probability. It never moves a segment, because a random move gains nothing."""

    def __init__(self, random: RandomChoice) -> None:
        self._random = random

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        return candidates[self._random.randrange(len(candidates))] if candidates else None

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        return None


class RoundRobinStrategy:
    """Draws two of the least full servers and chooses the cheaper one, which balances well for little work.

    A plain round robin fails when segments arrive in the order of their ids: each server gets the segments of one
    datasource, and most must move later. The better of two drawn servers is nearly as good as the best of all.
    """

    def __init__(self) -> None:
        self._random_state = 0

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        if not candidates:
            return None
        emptiest = min(candidates, key=lambda server: server.fill_with(0))
        fill = emptiest.fill_with(segment.size)
        least_full = [server for server in candidates if server.fill_with(0) < fill] or [emptiest]
        drawn = (self._random_state >> 8) % len(least_full)
        first, second = sorted((drawn, (drawn + len(least_full) // 2) % len(least_full)))
        self._random_state = (self._random_state * _FACTOR + _SUMMAND) % _MODULUS
        left, right = least_full[first], least_full[second]
        return left if first == second or left.costs.cost(segment) <= right.costs.cost(segment) else right

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        return None


STRATEGIES = ("cost", "diskNormalized", "random")


def strategy_named(name: str, random: RandomChoice) -> BalancerStrategy:
    """Return the strategy that a value of Druid's `druid.coordinator.balancer.strategy` names.

    `cachingCost` is the same as `cost`, as in Druid since version 28. Raises ValueError for an unknown name.
    """
    match name:
        case "cost" | "cachingCost":
            return CostStrategy()
        case "diskNormalized":
            return DiskNormalizedStrategy()
        case "random":
            return RandomStrategy(random)
    raise ValueError(f"{name!r} is not a balancer strategy; they are {', '.join(STRATEGIES)}")
