"""A data directory belongs to one server at a time.

The lock is a flock, so it ends with the process that holds it, even with SIGKILL; there is no stale lock to clear
away. Each error is one line that names the directory and what is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coordserver.storage.errors import StorageError
from coordserver.storage.file_disk import FileDisk, hold
from coordserver.storage.layout import LOCK


@contextmanager
def open_data_dir(path: Path) -> Iterator[FileDisk]:
    """Lock the directory and give the disk in it; it is made if its parent exists. Leaving unlocks.

    Raises StorageError: no parent directory, not a directory, not writable, held by another server.
    """
    _make(path)
    lock = path / LOCK
    try:
        held = hold(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        raise StorageError(f"data directory {path}: held by another server{_holder(lock)}") from None
    except OSError as error:
        raise StorageError(f"data directory {path}: not writable: {error.strerror or error}") from error
    disk = FileDisk(path, held)
    try:
        yield disk
    finally:
        disk.release()


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o750)
    except FileExistsError:
        if not path.is_dir():
            raise StorageError(f"data directory {path}: not a directory") from None
    except FileNotFoundError:
        raise StorageError(f"data directory {path}: its parent directory {path.parent} does not exist") from None
    except NotADirectoryError:
        raise StorageError(f"data directory {path}: its parent {path.parent} is not a directory") from None
    except OSError as error:
        raise StorageError(f"data directory {path}: cannot be made: {error.strerror or error}") from error


def _holder(lock: Path) -> str:
    with suppress(OSError, ValueError):
        return f" (process {int(lock.read_text())})"
    return ""
