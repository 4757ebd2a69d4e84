"""A set of instants, kept as sorted intervals that do not touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Coverage:
    """What a growing number of intervals covers together. Asking and adding take O(log n) steps and a list's move."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Whether every instant of [start, end) is in the set. An empty interval has none to be in it: False."""
        at = bisect_right(self._starts, start_ms) - 1
        return at >= 0 and start_ms < end_ms <= self._ends[at]

    def add(self, start_ms: int, end_ms: int) -> None:
        """Put the instants of [start, end) into the set."""
        if start_ms == end_ms:
            return
        # Those from `first` up to `last` overlap or touch the new one, and become one with it.
        first = bisect_left(self._ends, start_ms)
        last = bisect_right(self._starts, end_ms)
        if first < last:
            start_ms, end_ms = min(start_ms, self._starts[first]), max(end_ms, self._ends[last - 1])
        self._starts[first:last] = [start_ms]
        self._ends[first:last] = [end_ms]
