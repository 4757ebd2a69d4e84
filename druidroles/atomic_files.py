"""Files that are there whole or not at all, also after a crash: temporary name, fsync, rename, fsync of the directory.

Everything here blocks and raises OSError: call it in a thread.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"
_CHUNK = 1 << 20


def sync_directory(path: Path) -> None:
    """Return once the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> None:
    """Make a directory and what is missing above it, each on the disk before the next."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_file(target: Path, data: bytes, *, private: bool = False) -> None:
    """Put a file in place of what is there; its directory must exist. `private`: only its owner may read it."""
    _place(target, lambda file: file.write(data), 0o600 if private else 0o666)


def write_chunks(target: Path, chunks: Iterable[bytes]) -> int:
    """Put a file with these bytes in place of what is there; its directory must exist; the number of its bytes."""
    return _place(target, lambda file: sum(map(file.write, chunks)))


def copy_file(source: Path, target: Path) -> int:
    """Put a copy of `source` in place of what is at `target`, whose directory must exist; the number of its bytes.

    `source` is opened first: if that fails, nothing else was touched.
    """
    with source.open("rb") as reading:
        return _place(target, lambda file: _pour(reading, file))


def _pour(source: BinaryIO, sink: BinaryIO) -> int:
    copied = 0
    while chunk := source.read(_CHUNK):
        sink.write(chunk)
        copied += len(chunk)
    return copied


def _place(target: Path, fill: Callable[[BinaryIO], int], mode: int = 0o666) -> int:
    # The name is drawn anew each time: two who write the same target do not write into each other's file.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=mode)) as file:
            written = fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)
    return written
