"""The timeline of one datasource: which version is visible at which time (Druid's VersionedIntervalTimeline).

Each (interval, version) is an entry with its partitions. At each instant the complete entry with the highest version is
visible. Incomplete entries are invisible. A newer version therefore replaces the older one when its last partition
arrives, and the older version becomes visible again when the newer one loses a partition. A lower version is visible
in pieces, wherever no higher version covers it.

The timeline stores the visible pieces, sorted and disjoint, so that a lookup takes two binary searches. When the
completeness of an entry changes, the pieces within its interval are recomputed from the complete entries there, which
an interval index finds.

Versions compare as text. Druid refuses overlapping intervals of one version. Here they are ranked by start and end, so
that the result does not depend on the order of their arrival.
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
    """A visible piece: `interval` is the part of `true_interval` that is visible within the interval of the lookup."""

    interval: Interval
    true_interval: Interval
    version: str
    chunks: tuple[PartitionChunk[T], ...]


class _Entry(Generic[T]):
    """One (interval, version) with its partitions."""

    __slots__ = ("interval", "partitions", "version")

    def __init__(self, interval: Interval, version: str) -> None:
        self.interval = interval
        self.version = version
        self.partitions: PartitionHolder[T] = PartitionHolder()

    @property
    def rank(self) -> tuple[str, int, int]:
        """The sort key: of two complete entries, the one with the higher rank is visible."""
        return (self.version, self.interval.start_ms, self.interval.end_ms)


class _Piece(NamedTuple, Generic[T]):
    start_ms: int
    end_ms: int
    entry: _Entry[T]


class VersionedIntervalTimeline(Generic[T]):
    """The timeline of one datasource. Each chunk holds a value of the caller's choice."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int, int], _Entry[T]] = {}
        self._complete: IntervalIndex[_Entry[T]] = IntervalIndex()
        self._starts: list[int] = []
        self._pieces: list[_Piece[T]] = []
        self._size = 0

    def __len__(self) -> int:
        """Return the number of chunks, visible or not."""
        return self._size

    def add(self, interval: Interval, version: str, spec: ShardSpec, value: T) -> None:
        """Add a chunk, or replace the one of the same interval, version and partition.

        A chunk with an empty interval is never visible.
        """
        key = (version, interval.start_ms, interval.end_ms)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(interval, version)
        partitions = entry.partitions
        was_complete = partitions.complete
        self._size += partitions.put(spec, value)
        if partitions.complete != was_complete:
            self._update_pieces(entry, was_complete)

    def remove(self, interval: Interval, version: str, partition_num: int) -> T | None:
        """Remove a chunk. Returns its value, or None if there is no such chunk."""
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
        self._update_pieces(entry, was_complete)
        return chunk.value

    def lookup(self, interval: Interval, at_most: int | None = None) -> list[TimelineHolder[T]]:
        """Return the visible pieces within an interval, by time. The first and the last are trimmed to the interval.

        `at_most` limits the number of pieces. The caller gets the rest by a lookup from the end of the last piece.
        """
        holders = []
        for piece in islice(self._find_pieces(interval.start_ms, interval.end_ms), at_most):
            start, end = max(piece.start_ms, interval.start_ms), min(piece.end_ms, interval.end_ms)
            entry = piece.entry
            holders.append(
                TimelineHolder(Interval(start, end), entry.interval, entry.version, entry.partitions.chunks())
            )
        return holders

    def partitions(self, interval: Interval, version: str) -> PartitionHolder[T] | None:
        """Return the partitions of exactly this interval and version, visible or not. The caller must not change them.

        Returns None if there are none.
        """
        entry = self._entries.get((version, interval.start_ms, interval.end_ms))
        return entry.partitions if entry is not None else None

    def find_chunk(self, interval: Interval, version: str, partition_num: int) -> PartitionChunk[T] | None:
        """Return the chunk of a complete entry, visible or not, that contains the interval (Druid's findChunk).

        Returns None if there is no such chunk.
        """
        for entry in self._complete.overlapping(interval.start_ms, interval.end_ms):
            if entry.version == version and entry.interval.contains(interval):
                chunk = entry.partitions.get(partition_num)
                if chunk is not None:
                    return chunk
        return None

    def _find_pieces(self, start_ms: int, end_ms: int) -> Iterator[_Piece[T]]:
        if start_ms >= end_ms:
            return
        first = max(bisect_right(self._starts, start_ms) - 1, 0)
        for at in range(first, bisect_left(self._starts, end_ms)):
            if self._pieces[at].end_ms > start_ms:
                yield self._pieces[at]

    def _update_pieces(self, entry: _Entry[T], was_complete: bool) -> None:
        """Update the visible pieces after a change of an entry's partitions, if its completeness changed."""
        if entry.partitions.complete == was_complete or entry.interval.is_empty:
            return
        start, end = entry.interval.start_ms, entry.interval.end_ms
        if was_complete:
            self._complete.remove(start, end, entry)
        else:
            self._complete.add(start, end, entry)
            if self._insert_alone(entry):
                return
        self._recompute(start, end)

    def _insert_alone(self, entry: _Entry[T]) -> bool:
        """Insert a complete entry as one piece if nothing is visible within its interval. Return whether it was done.

        This is the common case when a view is built. Where nothing is visible, no other entry is complete, so there is
        no rank to compare.
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
        """Recompute the pieces that overlap or touch [start_ms, end_ms).

        Each of these pieces is recomputed in its whole length, so that no piece is ever split in two.
        """
        first = bisect_left(self._starts, start_ms)
        if first and self._pieces[first - 1].end_ms >= start_ms:
            first -= 1
        last = bisect_right(self._starts, end_ms)
        if first < last:
            start_ms = min(start_ms, self._pieces[first].start_ms)
            end_ms = max(end_ms, self._pieces[last - 1].end_ms)
        fresh = _compute_visible(list(self._complete.overlapping(start_ms, end_ms)), start_ms, end_ms)
        self._pieces[first:last] = fresh
        self._starts[first:last] = [piece.start_ms for piece in fresh]


def _compute_visible(entries: list[_Entry[T]], start_ms: int, end_ms: int) -> list[_Piece[T]]:
    """Return the visible pieces of complete entries within [start_ms, end_ms), sorted and disjoint.

    Entries are taken from the highest rank down. Each one fills the gaps that the higher ones leave.
    """
    pieces: list[_Piece[T]] = []
    gaps = [(start_ms, end_ms)]
    for entry in sorted(entries, key=lambda entry: entry.rank, reverse=True):
        gaps = _fill_gaps(entry, gaps, pieces)
        if not gaps:
            break
    pieces.sort(key=lambda piece: piece.start_ms)
    return pieces


def _fill_gaps(entry: _Entry[T], gaps: list[tuple[int, int]], pieces: list[_Piece[T]]) -> list[tuple[int, int]]:
    """Append the parts of the gaps that an entry fills to `pieces`. Return the remaining gaps, sorted."""
    start, end = entry.interval.start_ms, entry.interval.end_ms
    # Gaps are sorted and disjoint, so the gaps that overlap the entry are neighbours in the list.
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
