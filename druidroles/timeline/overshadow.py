"""Which segments newer ones make invisible (Druid's VersionedIntervalTimeline.isOvershadowed, for all at once).

A segment is overshadowed when complete partition sets of higher versions cover its whole interval, together if not
one alone. Sets that are not complete cover nothing, and neither do other intervals of the same version. From the
highest version down, what the complete sets have covered so far decides over the next version, so one sort is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import is_complete
from druidroles.timeline.coverage import Coverage


def overshadowed(segments: Iterable[DataSegment]) -> set[str]:
    """The ids of those, among the segments of one datasource, that others fully overshadow."""
    # Plain tuples as keys: they hash and compare several times as fast as Interval, and there may be 100,000.
    chunks: dict[tuple[str, int, int], list[DataSegment]] = {}
    for segment in segments:
        chunks.setdefault((segment.version, segment.interval.start_ms, segment.interval.end_ms), []).append(segment)
    newer = Coverage()
    found: set[str] = set()
    for _, of_version in groupby(sorted(chunks, reverse=True), key=lambda chunk: chunk[0]):
        same = list(of_version)
        for chunk in same:
            if newer.covers(*chunk[1:]):
                found.update(segment.id for segment in chunks[chunk])
        for chunk in same:
            if is_complete([segment.shard_spec for segment in chunks[chunk]]):
                newer.add(*chunk[1:])
    return found
