"""A set of instants, kept as sorted intervals that do not touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from druidroles.model.interval import Interval


class Coverage:
    """What a growing number of intervals covers together. Asking and adding take O(log n) steps and a list's move."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def covers(self, interval: Interval) -> bool:
        """Whether every instant of the interval is in the set. An empty interval has none to be in it: False."""
        at = bisect_right(self._starts, interval.start_ms) - 1
        return at >= 0 and not interval.is_empty and interval.end_ms <= self._ends[at]

    def add(self, interval: Interval) -> None:
        """Put the instants of the interval into the set."""
        if interval.is_empty:
            return
        # Those from `first` up to `last` overlap or touch the new one, and become one with it.
        first = bisect_left(self._ends, interval.start_ms)
        last = bisect_right(self._starts, interval.end_ms)
        start, end = interval.start_ms, interval.end_ms
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
