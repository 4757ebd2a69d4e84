"""The used segments as the metadata store last told them, and which of them newer versions overshadow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from druidroles.model.segment import DataSegment

Overshadowed = Callable[[Iterable[DataSegment]], set[str]]


class UsedSegments:
    """A snapshot of the used segments, replaced as a whole; what changed is told so that only that is planned again.

    `overshadowed_of` finds, among the segments of one datasource, those that others fully overshadow.
    """

    def __init__(self, overshadowed_of: Overshadowed) -> None:
        self._overshadowed_of = overshadowed_of
        self._by_id: Mapping[str, DataSegment] = {}
        self._by_data_source: dict[str, dict[str, DataSegment]] = {}
        self._overshadowed: dict[str, set[str]] = {}
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

    def is_overshadowed(self, segment: DataSegment) -> bool:
        """True if used segments of newer versions cover all of it, so that it need not be loaded."""
        return segment.id in self._overshadowed.get(segment.data_source, ())

    def overshadowed(self) -> list[DataSegment]:
        """All used segments that are overshadowed."""
        return [self._by_id[i] for ids in self._overshadowed.values() for i in ids]

    def replace(self, segments: Iterable[DataSegment], read_ms: int) -> list[str]:
        """Take a new snapshot, read from `read_ms` on. Returns the ids whose verdict may have changed, newest first."""
        fresh = {segment.id: segment for segment in segments}
        before = self._by_id
        added = [s for i, s in fresh.items() if i not in before]
        removed = [s for i, s in before.items() if i not in fresh]
        self._by_id = fresh
        self._read_ms = read_ms
        changed: dict[str, DataSegment] = {s.id: s for s in (*added, *removed)}
        for segment in removed:
            self._by_data_source[segment.data_source].pop(segment.id, None)
        for segment in added:
            self._by_data_source.setdefault(segment.data_source, {})[segment.id] = segment
        for data_source in {s.data_source for s in changed.values()}:
            self._update_overshadowed(data_source, changed)
        return [s.id for s in sorted(changed.values(), key=newest_first)]

    def _update_overshadowed(self, data_source: str, changed: dict[str, DataSegment]) -> None:
        of_source = self._by_data_source[data_source]
        before = self._overshadowed.pop(data_source, set())
        after = self._overshadowed_of(of_source.values())
        if after:
            self._overshadowed[data_source] = after
        if not of_source:
            del self._by_data_source[data_source]
        for segment_id in before ^ after:
            segment = of_source.get(segment_id)
            if segment is not None:
                changed[segment_id] = segment


def newest_first(segment: DataSegment) -> tuple[int, int, str]:
    """A sort key: the newest interval first, as Druid orders its load queues."""
    return (-segment.interval.end_ms, -segment.interval.start_ms, segment.id)
