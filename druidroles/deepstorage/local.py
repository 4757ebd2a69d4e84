"""Deep storage in a directory, which all machines of the cluster see under the same path.

Laid out as Druid's local pusher does: `{dataSource}/{start}_{end}/{version}/{partition}/`, colons kept, with one file
in it. The load spec is `{"type": "local", "path": <absolute path of the file>}`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from druidroles.deepstorage.errors import (
    CorruptSegmentError,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
)
from druidroles.deepstorage.layout import FILE_NAME, check_format, segment_directory
from druidroles.deepstorage.protocol import DeepStorage
from druidroles.durable import copy_file, make_directories
from druidroles.model.segment import DataSegment

LOAD_SPEC_TYPE = "local"


@attrs.frozen
class LocalDeepStorage:
    """A DeepStorage below `root`, an absolute path."""

    root: Path

    def push(self, segment: DataSegment, file: Path) -> DataSegment:
        """See DeepStorage.push."""
        target = self.root.joinpath(*segment_directory(segment), FILE_NAME)
        with _told(segment, "pushed"):
            make_directories(target.parent)
            size = copy_file(file, target)
        return attrs.evolve(segment, load_spec={"type": LOAD_SPEC_TYPE, "path": str(target)}, size=size)

    def pull(self, segment: DataSegment, target: Path) -> None:
        """See DeepStorage.pull."""
        check_format(segment)
        source = _source(segment)
        with _told(segment, "pulled"):
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
        """See DeepStorage.kill. Never touches anything outside the root, whatever the load spec says."""
        file = Path(os.path.normpath(_source(segment)))
        if not file.is_relative_to(self.root):
            raise ForeignSegmentError(f"segment {segment.id} lies outside of {self.root}: {file}")
        with _told(segment, "deleted"):
            file.unlink(missing_ok=True)
            _remove_empty(file.parent, self.root)


def open_local(path: Path) -> DeepStorage:
    """Deep storage in a directory, made if missing, its parent not. Raises DeepStorageError."""
    root = Path(os.path.abspath(path))
    try:
        root.mkdir(exist_ok=True)
    except OSError as fault:
        raise DeepStorageError(f"deep storage {root} cannot be used: {fault.strerror}") from None
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise DeepStorageError(f"deep storage {root} cannot be used: no permission")
    return LocalDeepStorage(root)


def _source(segment: DataSegment) -> Path:
    spec = segment.load_spec or {}
    kind, path = spec.get("type"), spec.get("path")
    if kind != LOAD_SPEC_TYPE:
        raise ForeignSegmentError(f"segment {segment.id} is not in local deep storage: loadSpec type {kind!r}")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise ForeignSegmentError(f"segment {segment.id}: loadSpec path {path!r} is not an absolute path")
    return Path(path)


@contextmanager
def _told(segment: DataSegment, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        where = f" ({fault.filename})" if fault.filename else ""
        raise DeepStorageError(f"segment {segment.id} cannot be {done}: {fault.strerror}{where}") from fault


def _remove_empty(directory: Path, root: Path) -> None:
    """Remove the directories from `directory` up to the root that hold nothing any more."""
    while directory != root:
        try:
            directory.rmdir()
        except OSError:
            return  # not empty, or another has removed it: either is well
        directory = directory.parent
