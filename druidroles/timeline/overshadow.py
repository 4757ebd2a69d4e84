"""Which segments newer ones make invisible (Druid's VersionedIntervalTimeline.isOvershadowed, for all at once).

A segment is overshadowed when complete partition sets of higher versions cover its whole interval, together if not
one alone. Sets that are not complete cover nothing, and neither do other intervals of the same version. From the
highest version down, what the complete sets have covered so far decides over the next version, so one sort is enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import is_complete
from druidroles.timeline.coverage import Coverage


def overshadowed(segments: Iterable[DataSegment]) -> set[str]:
    """The ids of those, among the segments of one datasource, that others fully overshadow."""
    versions: dict[str, dict[Interval, list[DataSegment]]] = defaultdict(lambda: defaultdict(list))
    for segment in segments:
        versions[segment.version][segment.interval].append(segment)
    newer = Coverage()
    found: set[str] = set()
    for _, chunks in sorted(versions.items(), reverse=True):
        for interval, partitions in chunks.items():
            if newer.covers(interval):
                found.update(segment.id for segment in partitions)
        for interval, partitions in chunks.items():
            if is_complete([segment.shard_spec for segment in partitions]):
                newer.add(interval)
    return found
