"""Deep storage in a directory, which must have the same path on all machines of the cluster.

The layout is that of Druid's local pusher: a directory `{dataSource}/{start}_{end}/{version}/{partition}/`, with colons
kept, holds one file. The load spec is `{"type": "local", "path": <absolute path of the file>}`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from druidroles.atomic_files import copy_file, make_directories
from druidroles.deepstorage.errors import (
    CorruptSegmentError,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
)
from druidroles.deepstorage.layout import FILE_NAME, check_format, segment_directory
from druidroles.deepstorage.protocol import DeepStorage
from druidroles.model.segment import DataSegment

LOAD_SPEC_TYPE = "local"


@attrs.frozen
class LocalDeepStorage:
    """A DeepStorage below `root`, an absolute path."""

    root: Path

    def push(self, segment: DataSegment, file: Path) -> DataSegment:
        target = self.root.joinpath(*segment_directory(segment), FILE_NAME)
        with _convert_errors(segment, "pushed"):
            make_directories(target.parent)
            size = copy_file(file, target)
        return attrs.evolve(segment, load_spec={"type": LOAD_SPEC_TYPE, "path": str(target)}, size=size)

    def pull(self, segment: DataSegment, target: Path) -> None:
        check_format(segment)
        source = _source_path(segment)
        with _convert_errors(segment, "pulled"):
            try:
                found = source.stat().st_size
            except FileNotFoundError:
                raise MissingSegmentError(f"segment {segment.id} is missing in deep storage: no {source}") from None
            if found != segment.size:
                raise CorruptSegmentError(
                    f"segment {segment.id} is damaged in deep storage: {source} has {found} bytes, not {segment.size}"
                )
            copy_file(source, target)

    def kill(self, segment: DataSegment) -> None:
        """Delete the segment's file. Raises ForeignSegmentError if the load spec names a path outside of the root."""
        file = Path(os.path.normpath(_source_path(segment)))
        if not file.is_relative_to(self.root):
            raise ForeignSegmentError(f"segment {segment.id} lies outside of {self.root}: {file}")
        with _convert_errors(segment, "deleted"):
            file.unlink(missing_ok=True)
            _remove_empty(file.parent, self.root)


def open_local(path: Path) -> DeepStorage:
    """Open deep storage in a directory, and create the directory if only its last part is missing.

    Raises DeepStorageError if the directory cannot be created, read or written.
    """
    root = Path(os.path.abspath(path))
    try:
        root.mkdir(exist_ok=True)
    except OSError as fault:
        raise DeepStorageError(f"deep storage {root} cannot be used: {fault.strerror}") from None
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise DeepStorageError(f"deep storage {root} cannot be used: no permission")
    return LocalDeepStorage(root)


def _source_path(segment: DataSegment) -> Path:
    spec = segment.load_spec or {}
    kind, path = spec.get("type"), spec.get("path")
    if kind != LOAD_SPEC_TYPE:
        raise ForeignSegmentError(f"segment {segment.id} is not in local deep storage: loadSpec type {kind!r}")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise ForeignSegmentError(f"segment {segment.id}: loadSpec path {path!r} is not an absolute path")
    return Path(path)


@contextmanager
def _convert_errors(segment: DataSegment, action: str) -> Iterator[None]:
    """Convert an OSError of the block to a DeepStorageError. `action` is a past participle, such as "pushed"."""
    try:
        yield
    except OSError as fault:
        where = f" ({fault.filename})" if fault.filename else ""
        raise DeepStorageError(f"segment {segment.id} cannot be {action}: {fault.strerror}{where}") from fault


def _remove_empty(directory: Path, root: Path) -> None:
    """Remove `directory` and its parents up to the root, as long as they are empty."""
    while directory != root:
        try:
            directory.rmdir()
        except OSError:
            return  # it is not empty, or another process has removed it
        directory = directory.parent
