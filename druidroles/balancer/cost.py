"""Druid's cost of segments on one server (CostBalancerStrategy), computed as sums that a binary search finds.

Queries usually read segments that are close in time together, so these segments should be on different servers. The
joint cost of two segments with intervals X and Y is

    ∬ e^(-λ|x - y|) dx dy   over x in X, y in Y;   λ = ln 2 / 24 h, a half-life of one day

and twice that if both belong to one datasource. The cost of a segment on a server is the sum over all segments that the
server holds.

The integrand is the second derivative of h(d) = |d| + e^(-|d|) (time in units of 1/λ), so one formula covers all cases:

    cost(X, Y) = h(x1 - y0) + h(x0 - y1) - h(x0 - y0) - h(x1 - y1)

The terms in |d| add up to twice the length of the overlap of X and Y. Each remaining term depends on one end of Y only.
Let every start have the weight +1 and every end the weight -1. Then the sum over all Y is

    Σ cost(X, Y) = 2 · overlap(X, all Y) + E(x1) - E(x0),   E(t) = Σ weight(p) · e^(-|t - p|)

Both terms are sums over sorted instants. Prefix sums of the weights give the overlap exactly, in whole milliseconds. E
is the sum of a part from the left and a part from the right. Each part is carried from one instant to the next by the
factor e^(-gap), so that no time span overflows. Where segments abut, as the days of a datasource do, their weights
cancel, and few instants remain.

Druid ignores segments that are more than 45 days away. Their terms here are below 2^-45, which has the same effect.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from math import exp, log
from operator import mul, sub

from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment

LAMBDA_PER_MS = log(2) / MS_PER_DAY
# Pending changes are added one by one to each result until that work equals the work of new sums. This constant is
# added to the number of instants, so that a small collection is not rebuilt for every query.
_WORK_MIN = 16


def _decay(distance_ms: int) -> float:
    return exp(-LAMBDA_PER_MS * abs(distance_ms))


def interval_cost(x: Interval, y: Interval) -> float:
    """Return the joint cost of two intervals, in units of 1/λ²."""
    overlap_ms = max(min(x.end_ms, y.end_ms) - max(x.start_ms, y.start_ms), 0)
    plus = _decay(x.end_ms - y.start_ms) + _decay(x.start_ms - y.end_ms)
    minus = _decay(x.start_ms - y.start_ms) + _decay(x.end_ms - y.end_ms)
    return max(2 * overlap_ms * LAMBDA_PER_MS + plus - minus, 0.0)


class IntervalSums:
    """The joint cost of one interval with a changing collection of intervals. A query takes O(log n) steps."""

    def __init__(self) -> None:
        self._weights: dict[int, int] = {}  # instant -> number of starts minus number of ends
        self._pending: list[tuple[int, int]] = []
        self._make_sums()

    def add(self, start_ms: int, end_ms: int, times: int = 1) -> None:
        """Add an interval `times` times, or remove it once if `times` is -1."""
        self._change(start_ms, times)
        self._change(end_ms, -times)

    def _change(self, instant_ms: int, weight: int) -> None:
        total = self._weights.get(instant_ms, 0) + weight
        if total:
            self._weights[instant_ms] = total
        else:
            del self._weights[instant_ms]
        if len(self._pending) <= self._work_max:  # a longer list would only be discarded by the next query
            self._pending.append((instant_ms, weight))

    def __bool__(self) -> bool:
        return bool(self._weights)

    def cost(self, start_ms: int, end_ms: int) -> float:
        """Return the sum of the joint costs of [start_ms, end_ms) with each interval of the collection."""
        self._work += len(self._pending)
        if self._work > self._work_max:
            self._make_sums()
        covered_before, near_start = self._evaluate_at(start_ms)
        covered, near_end = self._evaluate_at(end_ms)
        return 2 * (covered - covered_before) * LAMBDA_PER_MS + near_end - near_start

    def _make_sums(self) -> None:
        self._pending.clear()
        self._instants = instants = sorted(self._weights)
        self._work, self._work_max = 0, len(instants) + _WORK_MIN
        weights = [self._weights[p] for p in instants]
        # The sum of the weights before each instant, and the sum of weight times instant.
        self._totals = list(accumulate(weights, initial=0))
        self._moments = list(accumulate(map(mul, weights, instants), initial=0))
        gaps = [exp(LAMBDA_PER_MS * negated) for negated in map(sub, instants, instants[1:])]
        self._left = _sum_decayed(weights, gaps)
        self._right = _sum_decayed(weights[::-1], gaps[::-1])[::-1]

    def _evaluate_at(self, t: int) -> tuple[int, float]:
        """Return the milliseconds before `t` that the collection covers, and E(t).

        A time that several intervals cover counts once for each of them.
        """
        instants = self._instants
        at = bisect_right(instants, t)
        covered = self._totals[at] * t - self._moments[at]
        near = 0.0
        if at:
            near = self._left[at - 1] * exp(-LAMBDA_PER_MS * (t - instants[at - 1]))
        if at < len(instants):
            near += self._right[at] * exp(-LAMBDA_PER_MS * (instants[at] - t))
        for p, weight in self._pending:
            if p < t:
                covered += weight * (t - p)
            near += weight * exp(-LAMBDA_PER_MS * abs(t - p))
        return covered, near


def _sum_decayed(weights: list[int], gaps: list[float]) -> list[float]:
    """Return for each instant the sum of all weights up to it, each multiplied by the decay over its distance."""
    sums: list[float] = []
    carried = 0.0
    for weight, factor in zip(weights, (0.0, *gaps), strict=False):
        carried = weight + carried * factor
        sums.append(carried)
    return sums


class ServerCosts:
    """The segments of one server, reduced to what the cost function needs."""

    def __init__(self) -> None:
        self._all = IntervalSums()
        self._of_data_source: dict[str, IntervalSums] = {}

    def add(self, segment: DataSegment) -> None:
        """Add a segment to the server."""
        self._change(segment, 1)

    def remove(self, segment: DataSegment) -> None:
        """Remove a segment from the server."""
        self._change(segment, -1)
        if not self._of_data_source[segment.data_source]:
            del self._of_data_source[segment.data_source]

    def _change(self, segment: DataSegment, times: int) -> None:
        start_ms, end_ms = segment.interval.start_ms, segment.interval.end_ms
        if start_ms == end_ms:  # an empty interval has no cost
            self._of_data_source.setdefault(segment.data_source, IntervalSums())
            return
        self._all.add(start_ms, end_ms, times)
        of_source = self._of_data_source.get(segment.data_source)
        if of_source is None:
            of_source = self._of_data_source[segment.data_source] = IntervalSums()
        of_source.add(start_ms, end_ms, times)

    def cost(self, segment: DataSegment) -> float:
        """Return the joint cost of a segment with all segments on the server, in units of 1/λ².

        If the server holds the segment itself, the sum includes its cost with itself.
        """
        start_ms, end_ms = segment.interval.start_ms, segment.interval.end_ms
        of_source = self._of_data_source.get(segment.data_source)
        same = of_source.cost(start_ms, end_ms) if of_source is not None else 0.0
        return max(self._all.cost(start_ms, end_ms) + same, 0.0)


def own_cost(segment: DataSegment) -> float:
    """Return the cost of a segment with itself. It is part of the segment's cost on a server that holds it."""
    return 2 * interval_cost(segment.interval, segment.interval)
