"""Find all overshadowed segments of a datasource at once (Druid's VersionedIntervalTimeline.isOvershadowed).

A segment is overshadowed when complete partition sets of higher versions together cover its whole interval. An
incomplete set covers nothing, and a set does not overshadow another set of the same version. The function goes from
the highest version down and compares each version with the union of the complete sets above it, so it sorts only once.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import is_complete
from druidroles.timeline.coverage import Coverage


def overshadowed(segments: Iterable[DataSegment]) -> set[str]:
    """Return the ids of the overshadowed segments. All `segments` must belong to one datasource."""
    # The keys are plain tuples because they hash and compare several times as fast as Interval, and there may be
    # 100,000 of them.
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
