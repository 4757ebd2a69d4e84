"""A file that gets its name only when it is complete, however many processes make one of that name at once.

Each writes to a file of its own, `.NAME.RANDOM.part`, which it keeps locked. What a killed process left is not locked,
and is removed with the next file of that name.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cli.running import CommandFailedError
from coordserver.storage.layout import temporary

_SUFFIX = ".part"
_MODE = 0o640


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """An empty file to write to. At the end of the block it is given the name `file`, durably; where the block raises,
    it is removed.

    Raises CommandFailedError where `file` exists, before or by then, or cannot be made.
    """
    if os.path.lexists(file):
        raise CommandFailedError(f"{file}: exists")
    file = file.absolute()
    _remove_left(file)
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}{_SUFFIX}")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except OSError as fault:
        raise CommandFailedError(f"{file}: {fault.strerror or fault}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield part
        _give_name(part, file)
    finally:
        with suppress(OSError):
            part.unlink()
        os.close(descriptor)


def _remove_left(file: Path) -> None:
    """Those whose process has ended."""
    prefix = f".{file.name}."
    for part in file.parent.glob(f".*{_SUFFIX}"):
        if part.name.startswith(prefix):
            with suppress(OSError):
                _remove_unlocked(part)


def _remove_unlocked(part: Path) -> None:
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.with_name(temporary(part.name)).unlink(missing_ok=True)
        part.unlink()
    finally:
        os.close(descriptor)


def _give_name(part: Path, file: Path) -> None:
    try:
        os.link(part, file)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise CommandFailedError(f"{file}: exists") from None
    except OSError:  # a file system without hard links
        if os.path.lexists(file):
            raise CommandFailedError(f"{file}: exists") from None
        try:
            part.rename(file)
        except OSError as fault:
            raise CommandFailedError(f"{file}: {fault.strerror or fault}") from None
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
