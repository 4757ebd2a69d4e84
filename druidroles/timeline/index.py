"""Finding intervals that overlap a given one, among many of any lengths."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class IntervalIndex(Generic[T]):
    """Values by interval, any number for each. Intervals of like length lie together, sorted by start.

    The lengths within a class differ by less than a factor of two, so those that overlap [start, end) begin after
    `start` less twice the class' least length: a binary search away, however many there are. A datasource has few
    classes: hours, days, months.
    """

    def __init__(self) -> None:
        self._classes: dict[int, list[tuple[int, int]]] = {}
        self._values: dict[tuple[int, int], list[T]] = {}

    def add(self, start_ms: int, end_ms: int, value: T) -> None:
        """Put a value under an interval."""
        values = self._values.get((start_ms, end_ms))
        if values is not None:
            values.append(value)
            return
        self._values[start_ms, end_ms] = [value]
        insort(self._classes.setdefault((end_ms - start_ms).bit_length(), []), (start_ms, end_ms))

    def remove(self, start_ms: int, end_ms: int, value: T) -> None:
        """Take a value out again; ValueError or KeyError if it is not there."""
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
        """The values whose interval has an instant in common with [start, end), in no order."""
        for length, keys in self._classes.items():
            # Everything in this class is shorter than 2**length.
            for at in range(bisect_left(keys, (start_ms - (1 << length), 0)), len(keys)):
                start, end = keys[at]
                if start >= end_ms:
                    break
                if max(start, start_ms) < min(end, end_ms):
                    yield from self._values[keys[at]]
