"""The sums against the integral done numerically, against Druid's formulas case by case, and against a naive twin."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from druidroles.balancer.cost import LAMBDA_PER_MS, IntervalSums, ServerCosts, interval_cost, own_cost
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment

HOUR_MS = 3_600_000

hours = st.integers(0, 24 * 200)
intervals = st.builds(lambda s, n: Interval(s * HOUR_MS, (s + n) * HOUR_MS), hours, st.integers(1, 24 * 40))


def integral(x: Interval, y: Interval, steps: int = 200) -> float:
    """By the midpoint rule."""
    dx, dy = x.duration_ms * LAMBDA_PER_MS / steps, y.duration_ms * LAMBDA_PER_MS / steps
    x0, y0 = x.start_ms * LAMBDA_PER_MS, y.start_ms * LAMBDA_PER_MS
    points = [(i + 0.5) for i in range(steps)]
    return dx * dy * sum(exp(-abs(x0 + i * dx - y0 - j * dy)) for i in points for j in points)


@pytest.mark.parametrize(
    ("x", "y"),
    [((0, 24), (24, 48)), ((0, 24), (100, 101)), ((0, 24), (0, 24)), ((0, 48), (12, 24)), ((0, 30), (20, 90))],
)
def test_the_closed_form_is_the_integral(x: tuple[int, int], y: tuple[int, int]) -> None:
    a, b = (Interval(s * HOUR_MS, e * HOUR_MS) for s, e in (x, y))
    assert interval_cost(a, b) == pytest.approx(integral(a, b), rel=1e-3)
    assert interval_cost(b, a) == pytest.approx(interval_cost(a, b))


@given(st.integers(1, 24 * 30), st.integers(0, 24 * 30), st.integers(1, 24 * 30))
def test_druids_formulas_case_by_case(length: int, gap: int, other: int) -> None:
    unit = HOUR_MS * LAMBDA_PER_MS
    a, s, e = length * unit, (length + gap) * unit, (length + gap + other) * unit
    x = Interval(0, length * HOUR_MS)
    y = Interval((length + gap) * HOUR_MS, (length + gap + other) * HOUR_MS)
    apart = (exp(-e) - exp(-s)) - (exp(a - e) - exp(a - s))
    assert interval_cost(x, y) == pytest.approx(apart, rel=1e-6, abs=1e-12)
    assert interval_cost(x, x) == pytest.approx(2 * (a + exp(-a) - 1), rel=1e-6)


@given(st.lists(st.tuples(st.booleans(), intervals), max_size=150), intervals)
def test_sums_are_what_the_naive_twin_says_after_any_changes(changes: list[tuple[bool, Interval]], x: Interval) -> None:
    sums, twin = IntervalSums(), list[Interval]()
    for add, interval in changes:
        if add or not twin:
            sums.add(interval.start_ms, interval.end_ms)
            twin.append(interval)
        else:
            gone = twin.pop(interval.start_ms % len(twin))
            sums.add(gone.start_ms, gone.end_ms, -1)
        if len(twin) % 7 == 0:
            sums.cost(x.start_ms, x.end_ms)
    assert sums.cost(x.start_ms, x.end_ms) == pytest.approx(sum(interval_cost(x, y) for y in twin), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("count", range(1, 40))
def test_however_many_come_before_anybody_asks(count: int) -> None:
    sums, x = IntervalSums(), Interval(0, 40 * MS_PER_DAY)
    days = [Interval(2 * n * MS_PER_DAY, (2 * n + 1) * MS_PER_DAY) for n in range(count)]
    for day in days:
        sums.add(day.start_ms, day.end_ms)
    assert sums.cost(x.start_ms, x.end_ms) == pytest.approx(sum(interval_cost(x, day) for day in days))


def test_centuries_apart_and_all_of_time_neither_overflow_nor_cost_more_than_they_should() -> None:
    sums = IntervalSums()
    for year in range(0, 3_000, 100):
        sums.add(year * 365 * MS_PER_DAY, (year * 365 + 1) * MS_PER_DAY)
    one = interval_cost(Interval(0, MS_PER_DAY), Interval(0, MS_PER_DAY))
    assert sums.cost(0, MS_PER_DAY) == pytest.approx(one)
    sums.add(ETERNITY.start_ms, ETERNITY.end_ms)
    assert sums.cost(0, MS_PER_DAY) == pytest.approx(one + interval_cost(Interval(0, MS_PER_DAY), ETERNITY))


def segment(day: int, data_source: str = "wiki", part: int = 0) -> DataSegment:
    return DataSegment(data_source, Interval(day * MS_PER_DAY, (day + 1) * MS_PER_DAY), f"v{part}")


def test_beyond_forty_five_days_nothing_counts() -> None:
    costs = ServerCosts()
    costs.add(segment(46 + 1))
    assert costs.cost(segment(0)) < 1e-12 * own_cost(segment(0))


def test_the_same_datasource_costs_twice_and_what_is_removed_costs_nothing() -> None:
    costs = ServerCosts()
    costs.add(segment(1, "other"))
    assert costs.cost(segment(0)) == pytest.approx(interval_cost(segment(0).interval, segment(1).interval))
    costs.add(segment(1))
    assert costs.cost(segment(0)) == pytest.approx(3 * interval_cost(segment(0).interval, segment(1).interval))
    costs.remove(segment(1, "other"))
    costs.remove(segment(1))
    assert costs.cost(segment(0)) == 0
    costs.add(segment(5))
    assert costs.cost(segment(5)) == pytest.approx(own_cost(segment(5)))


def test_segments_of_no_length_come_and_go() -> None:
    nothing = DataSegment("wiki", Interval(5, 5), "v1")
    costs = ServerCosts()
    costs.add(nothing)
    costs.remove(nothing)
    assert costs.cost(segment(0)) == 0
