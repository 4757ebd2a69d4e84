"""A span of time [start, end), as Druid writes it: `2013-01-01T00:00:00.000Z/2013-01-02T00:00:00.000Z`."""

from __future__ import annotations

from functools import lru_cache

import attrs

from druidroles.model.decode import ModelError
from druidroles.model.iso import format_iso, parse_iso
from druidroles.model.period import Period


@attrs.frozen(order=True)
class Interval:
    """Milliseconds since 1970, the end not included. Ordered by start, then end. An empty one overlaps nothing."""

    start_ms: int
    end_ms: int

    def __attrs_post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ModelError(
                f"an interval ends before it starts: {format_iso(self.start_ms)}/{format_iso(self.end_ms)}"
            )

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read `start/end`, `start/period` or `period/end`; raises ModelError for anything else."""
        return _parse(text)

    def __str__(self) -> str:
        return f"{format_iso(self.start_ms)}/{format_iso(self.end_ms)}"

    @property
    def duration_ms(self) -> int:
        """How long it is."""
        return self.end_ms - self.start_ms

    @property
    def is_empty(self) -> bool:
        """Whether no instant lies in it."""
        return self.start_ms == self.end_ms

    def overlaps(self, other: Interval) -> bool:
        """Whether some instant lies in both."""
        return (
            self.start_ms < other.end_ms and other.start_ms < self.end_ms and not self.is_empty and not other.is_empty
        )

    def contains(self, other: Interval) -> bool:
        """Whether every instant of `other` lies in this one."""
        return self.start_ms <= other.start_ms and other.end_ms <= self.end_ms

    def contains_ms(self, ms: int) -> bool:
        """Whether the instant lies in it."""
        return self.start_ms <= ms < self.end_ms

    def intersection(self, other: Interval) -> Interval | None:
        """What lies in both, None where nothing does."""
        if not self.overlaps(other):
            return None
        return Interval(max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms))

    def abuts(self, other: Interval) -> bool:
        """Whether one ends exactly where the other starts."""
        return self.end_ms == other.start_ms or other.end_ms == self.start_ms

    def subtract(self, other: Interval) -> list[Interval]:
        """What of this one lies outside `other`: none, one or two pieces, in order."""
        if not self.overlaps(other):
            return [self]
        pieces = []
        if self.start_ms < other.start_ms:
            pieces.append(Interval(self.start_ms, other.start_ms))
        if other.end_ms < self.end_ms:
            pieces.append(Interval(other.end_ms, self.end_ms))
        return pieces


def interval_texts(text: str) -> list[str]:
    """The texts of several intervals that are given as one, with commas between them; commas at the end count for
    nothing, as in Druid.
    """
    return text.rstrip(",").split(",")


@lru_cache(maxsize=16_384)
def _parse(text: str) -> Interval:
    left, slash, right = text.partition("/")
    if not slash:
        raise ModelError(f"{text!r} is not an interval (start/end)")
    if left.startswith("P"):
        end = parse_iso(right)
        return Interval(Period.parse(left).add_to(end, -1), end)
    start = parse_iso(left)
    return Interval(start, Period.parse(right).add_to(start) if right.startswith("P") else parse_iso(right))


# Druid's Intervals.ETERNITY: half of the range of a long on each side, so that its length still fits one.
ETERNITY = Interval(-(2**62), 2**62 - 1)
