"""The files of a Historical: for each segment a data file, and an info file that is written after it.

After a restart only segments with both files are served. A crash leaves a single file, which is removed. All functions
block, so call them in a thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from urllib.parse import quote

import attrs

from druidroles.atomic_files import TEMPORARY_SUFFIX, make_directories, write_file
from druidroles.deepstorage import DeepStorage
from druidroles.model.decode import ModelError, as_object, need_int, need_object
from druidroles.model.segment import DataSegment
from druidroles.segments.errors import SegmentFileError
from druidroles.segments.format import check_segment_file

log = logging.getLogger(__name__)

INFO_FORMAT = 1
_DATA, _INFO = ".parquet", ".json"
_NAME_MAX = 200  # file systems allow 255 characters


class NewerFormatError(Exception):
    """The directory was written by a newer version of this program."""


@attrs.frozen
class SegmentFiles:
    """The segment files in one directory."""

    directory: Path

    def data_path(self, segment_id: str) -> Path:
        """Return the path of a segment's data file, whether or not it exists."""
        return self.directory / (_file_name(segment_id) + _DATA)

    def fetch(self, storage: DeepStorage, segment: DataSegment) -> Path:
        """Pull a segment from deep storage, check its file and write its info file. Returns the path of the data file.

        After a failure no data file is left. Raises DeepStorageError, SegmentFileError, OSError.
        """
        path = self.data_path(segment.id)
        try:
            storage.pull(segment, path)
            check_segment_file(path)
            write_file(self._info_path(segment.id), _encode_info(segment))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def remove(self, segment_id: str) -> None:
        """Remove the files of a segment. After a crash in between, `restore` does not find the segment.

        Raises OSError.
        """
        self._info_path(segment_id).unlink(missing_ok=True)
        self.data_path(segment_id).unlink(missing_ok=True)

    def restore(self) -> list[DataSegment]:
        """Return the segments with both files, ordered by id, and remove all other segment files.

        Creates the directory if it is missing. Raises OSError; raises NewerFormatError before it removes any file.
        """
        make_directories(self.directory)
        names = sorted(path.name for path in self.directory.iterdir())
        segments = [segment for name in names if name.endswith(_INFO) and (segment := self._read(name)) is not None]
        kept = {name for seg in segments for name in (self.data_path(seg.id).name, self._info_path(seg.id).name)}
        for name in names:
            if name not in kept and name.endswith((_INFO, _DATA, TEMPORARY_SUFFIX)):
                log.info("removing %s, which belongs to no complete segment", self.directory / name)
                (self.directory / name).unlink()
        return sorted(segments, key=lambda segment: segment.id)

    def _info_path(self, segment_id: str) -> Path:
        return self.directory / (_file_name(segment_id) + _INFO)

    def _read(self, name: str) -> DataSegment | None:
        """Return the segment of an info file, or None if the info file or the data file is damaged or missing."""
        path = self.directory / name
        try:
            segment = _decode_info(path.read_bytes())
            found = self.data_path(segment.id).stat().st_size
            if found != segment.size:
                raise SegmentFileError(f"its file has {found} bytes, not {segment.size}")
        except (ModelError, SegmentFileError, FileNotFoundError) as fault:
            log.warning("the segment of %s is not served: %s", path, fault)
            return None
        return segment


def _file_name(segment_id: str) -> str:
    name = quote(segment_id, safe=":")
    if len(name) <= _NAME_MAX:
        return name
    return f"{name[:150]}-{hashlib.sha256(segment_id.encode()).hexdigest()[:32]}"


def _encode_info(segment: DataSegment) -> bytes:
    return json.dumps({"format": INFO_FORMAT, "segment": segment.to_json()}, indent=1).encode()


def _decode_info(data: bytes) -> DataSegment:
    try:
        obj = as_object(json.loads(data), "the info file")
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"not JSON: {fault}") from None
    written = need_int(obj, "format")
    if written > INFO_FORMAT:
        raise NewerFormatError(f"its segments have info files of format {written}; this version reads {INFO_FORMAT}")
    return DataSegment.from_json(need_object(obj, "segment"))
