"""The real disk: the only module of the server that opens, writes, syncs and locks files."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

from coordserver.storage.disk import DiskFile, FileStatus

_log = logging.getLogger(__name__)

_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class FileDiskFile:
    """A DiskFile on a descriptor. A descriptor stays with its file through a rename."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._durable = -1

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written

    def write_durably(self, offset: int, data: bytes) -> None:
        # One call where write and fdatasync would be two: a thread that comes back from a call waits for the
        # interpreter, and makes another one wait for it.
        try:
            written = os.pwritev(self._descriptor, (data,), offset, os.RWF_DSYNC)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            written = 0
        if written < len(data):
            self.write_at(offset + written, data[written:])
            os.fdatasync(self._descriptor)

    def durable_descriptor(self) -> int:
        if self._durable < 0:
            # The flag cannot be set on an open descriptor; this way the same file is opened, whatever its name is now.
            self._durable = os.open(f"/proc/self/fd/{self._descriptor}", os.O_WRONLY | os.O_DSYNC | os.O_CLOEXEC)
        return self._durable

    def begin_sync(self, offset: int, length: int) -> None:
        # Linux begins to write dirty pages of which it is told that they are not needed, and waits for none.
        os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def status(self) -> FileStatus:
        found = os.fstat(self._descriptor)
        return FileStatus(found.st_nlink, found.st_size)

    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return _identity(os.fstat(self._descriptor))

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        if self._durable >= 0:
            descriptor, self._durable = self._durable, -1
            os.close(descriptor)


class FileDiskReader:
    """A DiskReader on a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class FileDisk:
    """A Disk in an existing directory of the file system."""

    def __init__(self, path: Path, lock: HeldFile | None = None) -> None:
        """`lock` makes the directory this process's alone; `keep_lock` may replace it, `release` gives it up."""
        self.path = path
        self._lock = lock
        self._identity = _identity(path.stat())

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def data_end(self, name: str) -> int:
        # To read 64 MiB of reserved but never written blocks takes 0.1 to 0.4 s; to ask where the data ends, 10 µs.
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _data_end(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        with open(self.path / name, "rb", buffering=0) as file:
            file.seek(offset)
            if length < 0:
                return file.read()
            parts: list[bytes] = []
            while length > 0 and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def open(self, name: str) -> FileDiskReader:
        return FileDiskReader(os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC))

    def gives(self, name: str, file: DiskFile) -> bool:
        assert isinstance(file, FileDiskFile)
        try:
            here = _identity(self.path.stat()) == self._identity
            return here and _identity((self.path / name).stat()) == file.identity()
        except (FileNotFoundError, NotADirectoryError):
            return False

    def keep_lock(self) -> None:
        lock = self._lock
        if lock is None or lock.in_place():
            return
        try:
            self._lock = hold(lock.path, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            raise OSError(errno.EBUSY, "its lock file was replaced, and another server has locked it") from None
        lock.release()
        _log.warning("%s was removed or replaced; it is made and locked again", lock.path)

    def release(self) -> None:
        """Give up the lock. A second call does nothing."""
        if self._lock is not None:
            self._lock.release()

    def create(self, name: str, size: int) -> FileDiskFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self.path / name, flags, 0o640)
        try:
            _reserve(descriptor, size)
        except OSError:
            os.close(descriptor)
            raise
        return FileDiskFile(descriptor)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.path / old, self.path / new)

    def remove(self, name: str) -> None:
        os.unlink(self.path / name)

    def sync_directory(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _data_end(descriptor: int, size: int) -> int:
    end = 0
    while end < size:
        try:
            end = os.lseek(descriptor, os.lseek(descriptor, end, os.SEEK_DATA), os.SEEK_HOLE)
        except OSError as error:
            # ENXIO: no data from there on. A file system that cannot tell calls the whole file data.
            return end if error.errno == errno.ENXIO else size
    return size


def _reserve(descriptor: int, size: int) -> None:
    if size == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        # Some file systems cannot reserve. The size at least is set, so that an append need not change it.
        if error.errno not in _NOT_SUPPORTED:
            raise
        os.ftruncate(descriptor, size)


class HeldFile:
    """A file with an exclusive flock, which the kernel drops when the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def in_place(self) -> bool:
        """Whether its path leads to this very file."""
        try:
            return _identity(self.path.stat()) == _identity(os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def release(self) -> None:
        """Give up the lock. A second call does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def hold(path: Path, note: bytes) -> HeldFile:
    """Lock the file (made where missing) and leave `note` in it for whoever comes next.

    Raises BlockingIOError if another process (or another holder in this one) has it, OSError for anything else.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)
    except OSError:
        os.close(descriptor)
        raise
    return HeldFile(path, descriptor)
