"""What the query resource of a data server asks of the one who keeps the segments."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import attrs

from druidroles.model.segment import DataSegment, SegmentDescriptor


@attrs.frozen
class ServedSegment:
    """A segment that is served here, and the Parquet file that holds it."""

    segment: DataSegment
    path: Path


class SegmentSource(Protocol):
    """Who knows the segments served here. Called from the event loop; must not block."""

    def find(self, data_source: str, descriptor: SegmentDescriptor) -> ServedSegment | None:
        """The segment that a descriptor names, None where it is not served (any more).

        The descriptor's interval may be a piece of the segment's: what counts is that the segment's interval contains
        it, and that version and partition are equal (Druid's VersionedIntervalTimeline.findChunk).
        """
        ...
