"""Which version of the data counts at which time (Druid's VersionedIntervalTimeline, for one datasource).

Every (interval, version) is an entry with its partitions. At each instant the complete entry of the highest version is
visible; entries that are not complete are not seen at all, so a newer version takes over from the older one at once,
when its last partition comes, and gives way to it again when one goes. A lower version shows in pieces where no higher
one covers it.

The visible pieces are kept, sorted and disjoint, so that a lookup is two binary searches. A change of one entry's
completeness recomputes the pieces within its interval, from the complete entries that an index by interval finds there.

Versions compare as text. Overlapping intervals of one version, which Druid refuses, are ordered by start and end, so
that the outcome does not depend on the order in which they came.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from druidroles.model.interval import Interval
from druidroles.model.shardspec import ShardSpec
from druidroles.timeline.index import IntervalIndex
from druidroles.timeline.partitions import PartitionChunk, PartitionHolder

T = TypeVar("T")


class TimelineHolder(NamedTuple, Generic[T]):
    """A visible piece: `interval` is what shows of `true_interval`, within what was asked for."""

    interval: Interval
    true_interval: Interval
    version: str
    chunks: tuple[PartitionChunk[T], ...]


class _Entry(Generic[T]):
    """One (interval, version)."""

    __slots__ = ("interval", "partitions", "version")

    def __init__(self, interval: Interval, version: str) -> None:
        self.interval = interval
        self.version = version
        self.partitions: PartitionHolder[T] = PartitionHolder()

    @property
    def rank(self) -> tuple[str, int, int]:
        """The higher shows."""
        return (self.version, self.interval.start_ms, self.interval.end_ms)


class _Piece(NamedTuple, Generic[T]):
    start_ms: int
    end_ms: int
    entry: _Entry[T]


class VersionedIntervalTimeline(Generic[T]):
    """The timeline of one datasource; its chunks hold whatever the caller keeps of a segment."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int, int], _Entry[T]] = {}
        self._complete: IntervalIndex[_Entry[T]] = IntervalIndex()
        self._starts: list[int] = []
        self._pieces: list[_Piece[T]] = []
        self._size = 0

    def __len__(self) -> int:
        """How many chunks there are, visible or not."""
        return self._size

    def add(self, interval: Interval, version: str, spec: ShardSpec, value: T) -> None:
        """Add a chunk, or replace the one of the same interval, version and partition. Empty intervals never show."""
        key = (version, interval.start_ms, interval.end_ms)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(interval, version)
        partitions = entry.partitions
        was_complete = partitions.complete
        self._size += partitions.put(spec, value)
        if partitions.complete != was_complete:
            self._follow(entry, was_complete)

    def remove(self, interval: Interval, version: str, partition_num: int) -> T | None:
        """Remove a chunk; what was kept of it, None if it was not there."""
        key = (version, interval.start_ms, interval.end_ms)
        entry = self._entries.get(key)
        if entry is None:
            return None
        was_complete = entry.partitions.complete
        chunk = entry.partitions.remove(partition_num)
        if chunk is None:
            return None
        self._size -= 1
        if not entry.partitions:
            del self._entries[key]
        self._follow(entry, was_complete)
        return chunk.value

    def lookup(self, interval: Interval, at_most: int | None = None) -> list[TimelineHolder[T]]:
        """What shows within an interval, by time; the first and the last piece are trimmed to it.

        With `at_most`, only so many pieces: whoever wants the rest asks again from the end of the last one.
        """
        holders = []
        for piece in islice(self._between(interval.start_ms, interval.end_ms), at_most):
            start, end = max(piece.start_ms, interval.start_ms), min(piece.end_ms, interval.end_ms)
            entry = piece.entry
            holders.append(
                TimelineHolder(Interval(start, end), entry.interval, entry.version, entry.partitions.chunks())
            )
        return holders

    def partitions(self, interval: Interval, version: str) -> PartitionHolder[T] | None:
        """The partitions of exactly this interval and version, visible or not; not to be changed."""
        entry = self._entries.get((version, interval.start_ms, interval.end_ms))
        return entry.partitions if entry is not None else None

    def find_chunk(self, interval: Interval, version: str, partition_num: int) -> PartitionChunk[T] | None:
        """The chunk of a complete entry that holds all of the interval, visible or not (Druid's findChunk)."""
        for entry in self._complete.overlapping(interval.start_ms, interval.end_ms):
            if entry.version == version and entry.interval.contains(interval):
                chunk = entry.partitions.get(partition_num)
                if chunk is not None:
                    return chunk
        return None

    def _between(self, start_ms: int, end_ms: int) -> Iterator[_Piece[T]]:
        if start_ms >= end_ms:
            return
        first = max(bisect_right(self._starts, start_ms) - 1, 0)
        for at in range(first, bisect_left(self._starts, end_ms)):
            if self._pieces[at].end_ms > start_ms:
                yield self._pieces[at]

    def _follow(self, entry: _Entry[T], was_complete: bool) -> None:
        """After a change of an entry's partitions: if it became complete or ceased to be, what shows changes."""
        if entry.partitions.complete == was_complete or entry.interval.is_empty:
            return
        start, end = entry.interval.start_ms, entry.interval.end_ms
        if was_complete:
            self._complete.remove(start, end, entry)
        else:
            self._complete.add(start, end, entry)
            if self._shows_alone(entry):
                return
        self._recompute(start, end)

    def _shows_alone(self, entry: _Entry[T]) -> bool:
        """Put in a complete entry where nothing shows yet, as most are when a view is built; False elsewhere.

        Where nothing shows there is nothing complete, so there is nothing to be weighed against it.
        """
        start, end = entry.interval.start_ms, entry.interval.end_ms
        at = bisect_left(self._starts, start)
        if at and self._pieces[at - 1].end_ms > start:
            return False
        if at < len(self._starts) and self._starts[at] < end:
            return False
        self._pieces.insert(at, _Piece(start, end, entry))
        self._starts.insert(at, start)
        return True

    def _recompute(self, start_ms: int, end_ms: int) -> None:
        """Replace the pieces that overlap or touch [start, end), whole ones, so that no piece is ever split in two."""
        first = bisect_left(self._starts, start_ms)
        if first and self._pieces[first - 1].end_ms >= start_ms:
            first -= 1
        last = bisect_right(self._starts, end_ms)
        if first < last:
            start_ms = min(start_ms, self._pieces[first].start_ms)
            end_ms = max(end_ms, self._pieces[last - 1].end_ms)
        fresh = _visible(list(self._complete.overlapping(start_ms, end_ms)), start_ms, end_ms)
        self._pieces[first:last] = fresh
        self._starts[first:last] = [piece.start_ms for piece in fresh]


def _visible(entries: list[_Entry[T]], start_ms: int, end_ms: int) -> list[_Piece[T]]:
    """What shows of some complete entries within [start, end): sorted, disjoint, one piece for each run of an entry.

    From the highest down, each entry takes the gaps that those above it have left.
    """
    pieces: list[_Piece[T]] = []
    gaps = [(start_ms, end_ms)]
    for entry in sorted(entries, key=lambda entry: entry.rank, reverse=True):
        gaps = _take(entry, gaps, pieces)
        if not gaps:
            break
    pieces.sort(key=lambda piece: piece.start_ms)
    return pieces


def _take(entry: _Entry[T], gaps: list[tuple[int, int]], pieces: list[_Piece[T]]) -> list[tuple[int, int]]:
    """Give an entry its part of the gaps; returns what is left of them, sorted."""
    start, end = entry.interval.start_ms, entry.interval.end_ms
    # Gaps are sorted and disjoint: those that overlap the entry lie together.
    first = bisect_right(gaps, start, key=lambda gap: gap[1])
    last = bisect_left(gaps, end, key=lambda gap: gap[0])
    left = []
    for gap_start, gap_end in gaps[first:last]:
        taken_start, taken_end = max(start, gap_start), min(end, gap_end)
        pieces.append(_Piece(taken_start, taken_end, entry))
        if gap_start < taken_start:
            left.append((gap_start, taken_start))
        if taken_end < gap_end:
            left.append((taken_end, gap_end))
    gaps[first:last] = left
    return gaps
