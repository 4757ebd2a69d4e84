"""The rules that all kinds of deep storage share: the path of a segment, and the file format."""

from __future__ import annotations

from druidroles.deepstorage.errors import DeepStorageError, ForeignSegmentError
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment
from druidroles.segments.format import BINARY_VERSION

FILE_NAME = "index.parquet"


def segment_directory(segment: DataSegment) -> tuple[str, str, str, str]:
    """Return the parts of the segment's path, `{dataSource}/{start}_{end}/{version}/{partition}`.

    Druid's pushers use the same path. Colons are kept. Raises DeepStorageError if the datasource or the version cannot
    be a file name.
    """
    for field, name in (("dataSource", segment.data_source), ("version", segment.version)):
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DeepStorageError(f"segment {segment.id} cannot be kept: {field} {name!r} is not a file name")
    interval = f"{format_iso(segment.interval.start_ms)}_{format_iso(segment.interval.end_ms)}"
    return segment.data_source, interval, segment.version, str(segment.partition_num)


def check_format(segment: DataSegment) -> None:
    """Raise ForeignSegmentError unless the segment has the file format of this program."""
    if segment.binary_version != BINARY_VERSION:
        raise ForeignSegmentError(
            f"segment {segment.id} has a foreign format: binaryVersion {segment.binary_version}, "
            f"this version reads {BINARY_VERSION}"
        )
