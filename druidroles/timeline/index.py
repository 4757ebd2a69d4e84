"""An index that finds the intervals overlapping a given interval."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class IntervalIndex(Generic[T]):
    """A multimap from intervals to values.

    Intervals are grouped into classes by the bit length of their length. Within a class they are sorted by start, and
    their lengths differ by less than a factor of two. An interval that overlaps [start, end) begins later than `start`
    minus twice the shortest length of its class, so a binary search finds the first candidate. A datasource has few
    classes: hours, days, months.
    """

    def __init__(self) -> None:
        self._classes: dict[int, list[tuple[int, int]]] = {}
        self._values: dict[tuple[int, int], list[T]] = {}

    def add(self, start_ms: int, end_ms: int, value: T) -> None:
        """Add a value for the interval [start_ms, end_ms). An interval may have several values."""
        values = self._values.get((start_ms, end_ms))
        if values is not None:
            values.append(value)
            return
        self._values[start_ms, end_ms] = [value]
        insort(self._classes.setdefault((end_ms - start_ms).bit_length(), []), (start_ms, end_ms))

    def remove(self, start_ms: int, end_ms: int, value: T) -> None:
        """Remove a value that was added for exactly this interval.

        Raises KeyError if the interval has no values, ValueError if it has others but not this one.
        """
        values = self._values[start_ms, end_ms]
        values.remove(value)
        if values:
            return
        del self._values[start_ms, end_ms]
        length = (end_ms - start_ms).bit_length()
        keys = self._classes[length]
        del keys[bisect_left(keys, (start_ms, end_ms))]
        if not keys:
            del self._classes[length]

    def overlapping(self, start_ms: int, end_ms: int) -> Iterator[T]:
        """Yield, in no particular order, the values whose interval has an instant in common with [start_ms, end_ms)."""
        for length, keys in self._classes.items():
            # Every interval of this class is shorter than 2**length.
            for at in range(bisect_left(keys, (start_ms - (1 << length), 0)), len(keys)):
                start, end = keys[at]
                if start >= end_ms:
                    break
                if max(start, start_ms) < min(end, end_ms):
                    yield from self._values[keys[at]]
