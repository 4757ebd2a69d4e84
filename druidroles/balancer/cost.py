"""Druid's cost of keeping segments on one server (CostBalancerStrategy), as sums that are found by binary search.

Segments that are near in time are asked for together, so they had better lie on different servers. Two segments with
intervals X and Y cost

    ∬ e^(-λ|x - y|) dx dy   over x in X, y in Y;   λ = ln 2 / 24 h, a half-life of one day

and twice that if they are of one datasource. A server's cost for a segment is the sum over all that it holds.

The integrand is the second derivative of h(d) = |d| + e^(-|d|) (time in units of 1/λ), so the integral needs no cases:

    cost(X, Y) = h(x1 - y0) + h(x0 - y1) - h(x0 - y0) - h(x1 - y1)

The parts in |d| add up to twice the length of the overlap of X and Y. What is left depends on each end of Y by itself:
if every start weighs +1 and every end -1, then over all Y together

    Σ cost(X, Y) = 2 · overlap(X, all Y) + E(x1) - E(x0),   E(t) = Σ weight(p) · e^(-|t - p|)

Both are sums over sorted instants: prefix sums of weights give the overlap, exactly, in whole milliseconds, and E is a
sum from the left and one from the right, each carried from instant to instant by e^(-gap), so nothing overflows however
long the time spanned. Where segments abut, as the days of a datasource do, their weights cancel, and few instants are
left.

Druid counts only segments within 45 days. Further ones weigh less than 2^-45 here, which is the same.
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
# Changes are looked at one by one until that has been as much work as to make the sums anew.
_WORK_MIN = 16


def _faded(distance_ms: int) -> float:
    return exp(-LAMBDA_PER_MS * abs(distance_ms))


def interval_cost(x: Interval, y: Interval) -> float:
    """The cost of two intervals, in units of 1/λ²."""
    overlap_ms = max(min(x.end_ms, y.end_ms) - max(x.start_ms, y.start_ms), 0)
    gained = _faded(x.end_ms - y.start_ms) + _faded(x.start_ms - y.end_ms)
    lost = _faded(x.start_ms - y.start_ms) + _faded(x.end_ms - y.end_ms)
    return max(2 * overlap_ms * LAMBDA_PER_MS + gained - lost, 0.0)


class IntervalSums:
    """The cost of one interval together with all of a changing collection. Asking takes O(log n)."""

    def __init__(self) -> None:
        self._weights: dict[int, int] = {}  # instant -> starts less ends
        self._pending: list[tuple[int, int]] = []
        self._make_sums()

    def add(self, start_ms: int, end_ms: int, times: int = 1) -> None:
        """Put an interval in; with `times` -1, take one out."""
        self._change(start_ms, times)
        self._change(end_ms, -times)

    def _change(self, instant_ms: int, weight: int) -> None:
        left = self._weights.get(instant_ms, 0) + weight
        if left:
            self._weights[instant_ms] = left
        else:
            del self._weights[instant_ms]
        if len(self._pending) <= self._work_max:  # of more than that none would be looked at
            self._pending.append((instant_ms, weight))

    def __bool__(self) -> bool:
        return bool(self._weights)

    def cost(self, start_ms: int, end_ms: int) -> float:
        """The sum of the costs with each that is in."""
        self._work += len(self._pending)
        if self._work > self._work_max:
            self._make_sums()
        covered_before, near_start = self._at(start_ms)
        covered, near_end = self._at(end_ms)
        return 2 * (covered - covered_before) * LAMBDA_PER_MS + near_end - near_start

    def _make_sums(self) -> None:
        self._pending.clear()
        self._instants = instants = sorted(self._weights)
        self._work, self._work_max = 0, len(instants) + _WORK_MIN
        weights = [self._weights[p] for p in instants]
        # Sums of the weights, and of weight times instant, before each instant.
        self._totals = list(accumulate(weights, initial=0))
        self._moments = list(accumulate(map(mul, weights, instants), initial=0))
        gaps = [exp(LAMBDA_PER_MS * negated) for negated in map(sub, instants, instants[1:])]
        self._left = _carried(weights, gaps)
        self._right = _carried(weights[::-1], gaps[::-1])[::-1]

    def _at(self, t: int) -> tuple[int, float]:
        """How much of the time before t the collection covers, overlaps counted as often as they overlap; and E(t)."""
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


def _carried(weights: list[int], gaps: list[float]) -> list[float]:
    """At each instant the sum of all weights up to it, each lessened by its distance."""
    sums: list[float] = []
    carried = 0.0
    for weight, faded in zip(weights, (0.0, *gaps), strict=False):
        carried = weight + carried * faded
        sums.append(carried)
    return sums


class ServerCosts:
    """What one server holds, as far as the cost of another segment depends on it."""

    def __init__(self) -> None:
        self._all = IntervalSums()
        self._of_data_source: dict[str, IntervalSums] = {}

    def add(self, segment: DataSegment) -> None:
        """It holds the segment from now on."""
        self._change(segment, 1)

    def remove(self, segment: DataSegment) -> None:
        """It holds it no longer."""
        self._change(segment, -1)
        if not self._of_data_source[segment.data_source]:
            del self._of_data_source[segment.data_source]

    def _change(self, segment: DataSegment, times: int) -> None:
        start_ms, end_ms = segment.interval.start_ms, segment.interval.end_ms
        if start_ms == end_ms:  # costs nothing anywhere
            self._of_data_source.setdefault(segment.data_source, IntervalSums())
            return
        self._all.add(start_ms, end_ms, times)
        of_source = self._of_data_source.get(segment.data_source)
        if of_source is None:
            of_source = self._of_data_source[segment.data_source] = IntervalSums()
        of_source.add(start_ms, end_ms, times)

    def cost(self, segment: DataSegment) -> float:
        """The cost of the segment with everything that the server holds, itself included if it holds it."""
        start_ms, end_ms = segment.interval.start_ms, segment.interval.end_ms
        of_source = self._of_data_source.get(segment.data_source)
        same = of_source.cost(start_ms, end_ms) if of_source is not None else 0.0
        return max(self._all.cost(start_ms, end_ms) + same, 0.0)


def own_cost(segment: DataSegment) -> float:
    """What a segment costs with itself: part of the cost of a server that holds it."""
    return 2 * interval_cost(segment.interval, segment.interval)
