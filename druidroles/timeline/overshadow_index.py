"""An incremental index of overshadowed segments: the cost of a change depends only on the chunks that overlap it.

The rule is the same as in overshadow.py. A chunk holds all partitions of one interval and version. The complete chunks
of higher versions that overlap a chunk decide whether it is overshadowed. An update checks only the chunks that
changed, and the chunks that overlap a chunk whose completeness changed. A large update yields between slices of work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import ShardSpec, is_complete
from druidroles.timeline.coverage import Coverage
from druidroles.timeline.index import IntervalIndex

SLICE = 100  # chunks checked between two yields; they take about a millisecond


class _Key(NamedTuple):
    """Identifies a chunk."""

    version: str
    start_ms: int
    end_ms: int


def _key(segment: DataSegment) -> _Key:
    return _Key(segment.version, segment.interval.start_ms, segment.interval.end_ms)


class OvershadowIndex:
    """The segments of one datasource.

    `overshadowed` has the ids of the overshadowed segments as of the last complete `update`.
    """

    def __init__(self) -> None:
        self.overshadowed: set[str] = set()
        self._chunks: dict[_Key, dict[str, ShardSpec]] = {}
        self._complete: set[_Key] = set()
        self._index: IntervalIndex[_Key] = IntervalIndex()
        self._touched: dict[_Key, None] = {}

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def add(self, segment: DataSegment) -> None:
        """Add a segment. The next `update` takes it into account."""
        key = _key(segment)
        chunk = self._chunks.get(key)
        if chunk is None:
            chunk = self._chunks[key] = {}
            self._index.add(key.start_ms, key.end_ms, key)
        chunk[segment.id] = segment.shard_spec
        self._touched[key] = None

    def remove(self, segment: DataSegment) -> None:
        """Remove a segment that was added. Raises KeyError if it was not."""
        key = _key(segment)
        chunk = self._chunks[key]
        del chunk[segment.id]
        self.overshadowed.discard(segment.id)
        self._touched[key] = None
        if not chunk:
            del self._chunks[key]
            self._index.remove(key.start_ms, key.end_ms, key)

    def update(self, changed: set[str]) -> Iterator[None]:
        """Bring `overshadowed` up to date, and yield after every SLICE chunks.

        Adds to `changed` the ids that became overshadowed or ceased to be.
        """
        stale = dict.fromkeys(key for key in self._touched if key in self._chunks)
        for index, key in enumerate(self._touched):
            if self._update_complete(key):
                stale.update((k, None) for k in self._index.overlapping(key.start_ms, key.end_ms) if k < key)
            if index % SLICE == SLICE - 1:
                yield
        self._touched = {}
        for index, key in enumerate(stale):
            ids = self._chunks[key].keys()
            if self._is_covered(key, self._complete.__contains__):
                changed |= ids - self.overshadowed
                self.overshadowed |= ids
            else:
                changed |= ids & self.overshadowed
                self.overshadowed -= ids
            if index % SLICE == SLICE - 1:
                yield

    def is_covered(self, segment: DataSegment, counts: Callable[[str], bool]) -> bool:
        """Return whether the segments for whose id `counts` is true suffice to overshadow `segment`."""

        def complete(key: _Key) -> bool:
            return is_complete([spec for segment_id, spec in self._chunks[key].items() if counts(segment_id)])

        return self._is_covered(_key(segment), complete)

    def _update_complete(self, key: _Key) -> bool:
        """Recompute whether a chunk is complete. Return whether that changed."""
        complete = is_complete(list(self._chunks.get(key, {}).values()))
        if complete == (key in self._complete):
            return False
        if complete:
            self._complete.add(key)
        else:
            self._complete.discard(key)
        return True

    def _is_covered(self, key: _Key, complete: Callable[[_Key], bool]) -> bool:
        newer: Iterable[_Key] = (k for k in self._index.overlapping(*key[1:]) if k.version > key.version)
        coverage = Coverage()
        for other in newer:
            if complete(other):
                coverage.add(other.start_ms, other.end_ms)
        return coverage.covers(*key[1:])
