"""The used segments as the metadata store last told them, and which of them newer versions overshadow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Protocol, TypeVar

from druidroles.model.segment import DataSegment
from druidroles.timeline.overshadow_index import OvershadowIndex

T = TypeVar("T")

SLICE = 2_000  # segments looked at between two yields where each costs next to nothing


class Overshadowing(Protocol):
    """Of the segments of one datasource, those that others fully overshadow (see OvershadowIndex)."""

    overshadowed: set[str]

    def add(self, segment: DataSegment) -> None:
        """A segment more."""

    def remove(self, segment: DataSegment) -> None:
        """One that was added goes."""

    def update(self, changed: set[str]) -> Iterator[None]:
        """Bring `overshadowed` up to date in slices."""

    def is_covered(self, segment: DataSegment, counts: Callable[[str], bool]) -> bool:
        """Whether segments that count overshadow the segment by themselves."""


class UsedSegments:
    """A snapshot of the used segments, replaced as a whole; what changed is told so that only that is planned again."""

    def __init__(self, overshadowing: Callable[[], Overshadowing] = OvershadowIndex) -> None:
        self._overshadowing = overshadowing
        self._by_id: Mapping[str, DataSegment] = {}
        self._by_data_source: dict[str, dict[str, DataSegment]] = {}
        self._indexes: dict[str, Overshadowing] = {}
        self._overshadowed: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._read_ms: int | None = None

    @property
    def read_ms(self) -> int | None:
        """When the newest read *began*; None before the first. What was announced later may be used all the same."""
        return self._read_ms

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, segment_id: str) -> bool:
        return segment_id in self._by_id

    def get(self, segment_id: str) -> DataSegment | None:
        """A used segment."""
        return self._by_id.get(segment_id)

    @property
    def by_id(self) -> Mapping[str, DataSegment]:
        """All used segments by id; not to be changed."""
        return self._by_id

    def data_sources(self) -> list[str]:
        """The datasources that have a used segment, sorted."""
        return sorted(self._by_data_source)

    def of_data_source(self, data_source: str) -> Iterable[DataSegment]:
        """The used segments of a datasource."""
        return self._by_data_source.get(data_source, {}).values()

    def totals(self, data_source: str) -> tuple[int, int]:
        """How many used segments a datasource has, and their bytes."""
        return len(self._by_data_source.get(data_source, {})), self._sizes.get(data_source, 0)

    def is_overshadowed(self, segment: DataSegment) -> bool:
        """True if used segments of newer versions cover all of it, so that it need not be loaded."""
        return segment.id in self._overshadowed

    def overshadowed(self) -> list[DataSegment]:
        """All used segments that are overshadowed."""
        return [self._by_id[segment_id] for segment_id in self._overshadowed]

    def is_covered(self, segment: DataSegment, counts: Callable[[str], bool]) -> bool:
        """Whether used segments that count, by id, overshadow the segment by themselves."""
        index = self._indexes.get(segment.data_source)
        return index is not None and index.is_covered(segment, counts)

    def replace(self, segments: Iterable[DataSegment], read_ms: int) -> list[str]:
        """Take a new snapshot, read from `read_ms` on. Returns the ids whose verdict may have changed, newest first."""
        *_, changed = self.replacing(segments, read_ms)
        return changed or []

    def replacing(self, segments: Iterable[DataSegment], read_ms: int) -> Iterator[list[str] | None]:
        """The same in slices: yields None while it works aside, and at last the ids, when the new snapshot counts.

        One replacement at a time.
        """
        fresh: dict[str, DataSegment] = {}
        added: list[DataSegment] = []
        removed: list[DataSegment] = []
        turned: set[str] = set()
        ids: list[str] = []
        for each in _paced(segments):
            fresh.update((segment.id, segment) for segment in each)
            yield None
        yield from _difference(fresh, self._by_id, added)
        yield from _difference(self._by_id, fresh, removed)
        by_source = {name: dict(self._by_data_source.get(name, {})) for name in _sources(added) | _sources(removed)}
        sizes = {name: self._sizes.get(name, 0) for name in by_source}
        yield None
        yield from self._apply(added, removed, by_source, sizes)
        for name in by_source:
            yield from self._indexes[name].update(turned)
        changed = {segment.id: segment for segment in (*added, *removed)}
        changed.update((segment_id, fresh[segment_id]) for segment_id in turned)
        yield from _in_order(changed.values(), ids)
        self._commit(fresh, by_source, sizes)
        self._read_ms = read_ms
        yield ids

    def _apply(
        self,
        added: list[DataSegment],
        removed: list[DataSegment],
        by_source: dict[str, dict[str, DataSegment]],
        sizes: dict[str, int],
    ) -> Iterator[None]:
        for some in _paced(removed, SLICE // 10):
            for segment in some:
                del by_source[segment.data_source][segment.id]
                sizes[segment.data_source] -= segment.size
                self._indexes[segment.data_source].remove(segment)
            yield
        for some in _paced(added, SLICE // 10):
            for segment in some:
                by_source[segment.data_source][segment.id] = segment
                sizes[segment.data_source] += segment.size
                self._indexes.setdefault(segment.data_source, self._overshadowing()).add(segment)
            yield

    def _commit(
        self,
        fresh: Mapping[str, DataSegment],
        by_source: Mapping[str, dict[str, DataSegment]],
        sizes: Mapping[str, int],
    ) -> None:
        self._by_id = fresh
        self._sizes.update(sizes)
        for name, of_source in by_source.items():
            self._by_data_source[name] = of_source
            if not of_source:
                del self._by_data_source[name], self._indexes[name], self._sizes[name]
        self._overshadowed = {i for index in self._indexes.values() for i in index.overshadowed}


def newest_first(segment: DataSegment) -> tuple[int, int, str]:
    """A sort key: the newest interval first, as Druid orders its load queues."""
    return (-segment.interval.end_ms, -segment.interval.start_ms, segment.id)


def _sources(segments: Iterable[DataSegment]) -> set[str]:
    return {segment.data_source for segment in segments}


def _paced(items: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def _difference(
    these: Mapping[str, DataSegment], others: Mapping[str, DataSegment], found: list[DataSegment]
) -> Iterator[None]:
    """Into `found`, those that the others have not."""
    for some in _paced(these.items(), 5 * SLICE):
        found.extend(segment for segment_id, segment in some if segment_id not in others)
        yield


def _in_order(segments: Iterable[DataSegment], ids: list[str]) -> Iterator[None]:
    """Into `ids`, the newest first: runs are sorted one at a time, then merged as they are taken."""
    runs = []
    for some in _paced(segments):
        runs.append(sorted(some, key=newest_first))
        yield
    for some in _paced(merge(*runs, key=newest_first)):
        ids.extend(segment.id for segment in some)
        yield
