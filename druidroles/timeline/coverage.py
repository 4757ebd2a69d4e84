"""A set of instants, kept as sorted intervals that do not touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Coverage:
    """The union of the intervals added so far.

    A query takes O(log n) steps for n disjoint intervals. An addition also shifts the tail of a list.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """Return whether every instant of [start_ms, end_ms) is in the set; False for an empty interval."""
        at = bisect_right(self._starts, start_ms) - 1
        return at >= 0 and start_ms < end_ms <= self._ends[at]

    def add(self, start_ms: int, end_ms: int) -> None:
        """Add the instants of [start_ms, end_ms) to the set. An empty interval changes nothing."""
        if start_ms == end_ms:
            return
        # The intervals in [first:last] overlap or touch the new interval, and are merged with it.
        first = bisect_left(self._ends, start_ms)
        last = bisect_right(self._starts, end_ms)
        if first < last:
            start_ms, end_ms = min(start_ms, self._starts[first]), max(end_ms, self._ends[last - 1])
        self._starts[first:last] = [start_ms]
        self._ends[first:last] = [end_ms]
