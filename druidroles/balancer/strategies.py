"""Which server is best for a segment (Druid's BalancerStrategy: cost, diskNormalized, random).

A move is worth its bytes only if it gains something: a cheaper server must be cheaper by a part of the cost, and by
more than rounding. Each move that the cost strategy makes lowers the sum of the costs of all pairs on all servers, so a
sequence of moves always ends, and no segment goes to and fro.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from druidroles.balancer.cost import ServerCosts, own_cost
from druidroles.model.segment import DataSegment

GAIN_PART = 0.05  # of the cost where the segment is, towards a server that is emptier and stays so
# Towards any other, and at least what it costs to lie beside one of its own kind: among servers that are even, chance
# alone makes differences, and the fewer segments, the larger ones.
GAIN_PART_EVEN = 0.25
GAIN_OF_OWN = 0.001  # of what the segment costs with itself, and of what two neighbours of any length cost at most

_FACTOR, _SUMMAND, _MODULUS = 1_103_515_245, 12_345, 1 << 31  # of the C standard's rand(): in step with nothing


class Candidate(Protocol):
    """A server, as far as strategies look at it."""

    @property
    def costs(self) -> ServerCosts:
        """What it holds."""

    def fill_with(self, more_bytes: int) -> float:
        """The part of its size that it would use with so much more."""


class RandomChoice(Protocol):
    """Of `random.Random`, what is needed."""

    def randrange(self, stop: int, /) -> int:
        """A number below `stop`."""


C = TypeVar("C", bound=Candidate)


class BalancerStrategy(Protocol):
    """How servers are chosen."""

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        """The best of some servers that do not have the segment; None if there is none."""

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        """The server to move the segment to from `source`; None if it is best left where it is."""


def _cheapest(costs: Sequence[float]) -> int:
    return min(range(len(costs)), key=costs.__getitem__)


class CostStrategy:
    """The server on which the segment costs the least."""

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        """See BalancerStrategy."""
        if not candidates:
            return None
        return candidates[_cheapest([self._there(server, segment) for server in candidates])]

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        """See BalancerStrategy."""
        if not candidates:
            return None
        own = own_cost(segment)
        here = self.weigh(max(source.costs.cost(segment) - own, 0.0), source.fill_with(0))
        costs = [self._there(server, segment) for server in candidates]
        best = _cheapest(costs)
        emptier = candidates[best].fill_with(segment.size) < source.fill_with(-segment.size)
        least = GAIN_PART * here if emptier else max(GAIN_PART_EVEN * here, own)
        return candidates[best] if here - costs[best] > max(least, GAIN_OF_OWN * min(own, 1.0)) else None

    def _there(self, server: Candidate, segment: DataSegment) -> float:
        return self.weigh(server.costs.cost(segment), server.fill_with(segment.size))

    def weigh(self, cost: float, fill: float) -> float:
        """The cost as it is compared; `fill` is that of the server with the segment."""
        return cost


class DiskNormalizedStrategy(CostStrategy):
    """The cost times the part of the disk that is used: between equals the emptier server."""

    def weigh(self, cost: float, fill: float) -> float:
        """See CostStrategy."""
        return cost * fill


class RandomStrategy:
    """Any server with equal chance. It never moves a segment that may stay: there is nothing to be gained."""

    def __init__(self, random: RandomChoice) -> None:
        self._random = random

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        """See BalancerStrategy."""
        return candidates[self._random.randrange(len(candidates))] if candidates else None

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        """See BalancerStrategy."""
        return None


class RoundRobinStrategy:
    """The cheaper of two servers that are drawn from the least full ones: even, and little work.

    In turn alone, segments that come in the order of their ids fall in step with the servers: each gets one datasource,
    and later most must be moved. Of two that are drawn the better is nearly as good as the best of all.
    """

    def __init__(self) -> None:
        self._turn = 0

    def for_load(self, segment: DataSegment, candidates: Sequence[C]) -> C | None:
        """See BalancerStrategy."""
        if not candidates:
            return None
        emptiest = min(candidates, key=lambda server: server.fill_with(0))
        fill = emptiest.fill_with(segment.size)
        alike = [server for server in candidates if server.fill_with(0) < fill] or [emptiest]
        drawn = (self._turn >> 8) % len(alike)
        first, second = sorted((drawn, (drawn + len(alike) // 2) % len(alike)))
        self._turn = (self._turn * _FACTOR + _SUMMAND) % _MODULUS
        one, other = alike[first], alike[second]
        return one if first == second or one.costs.cost(segment) <= other.costs.cost(segment) else other

    def for_move(self, segment: DataSegment, source: C, candidates: Sequence[C]) -> C | None:
        """See BalancerStrategy."""
        return None


STRATEGIES = ("cost", "diskNormalized", "random")


def strategy_named(name: str, random: RandomChoice) -> BalancerStrategy:
    """Druid's `druid.coordinator.balancer.strategy`; `cachingCost` is `cost`, as in Druid since 28. Or ValueError."""
    match name:
        case "cost" | "cachingCost":
            return CostStrategy()
        case "diskNormalized":
            return DiskNormalizedStrategy()
        case "random":
            return RandomStrategy(random)
    raise ValueError(f"{name!r} is not a balancer strategy; they are {', '.join(STRATEGIES)}")
