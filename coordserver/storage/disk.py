"""What storage needs of a disk: one flat directory of files.

Two implementations: FileDisk (the real one) and coordserver.testing.memory_disk.MemoryDisk, which crashes and fails on
demand. The rules that both keep, and that everything above relies on:

- Bytes written are on the disk once `write_durably`, or `sync` of their file, has returned, not before. A failed one
  says nothing about what is there, and a later one that succeeds does not make up for it.
- A name (create, rename, remove) is on the disk once `sync_directory` has returned. Of several not yet synced, any
  number of the first may have happened.
- A write never damages bytes outside its range ("powersafe overwrite", as SQLite calls it); inside, any part may be
  missing after a crash.
- `create` gives a file that reads as zeros over its whole size, with room for it reserved.

All methods raise OSError and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class FileStatus(NamedTuple):
    """`links`: how many names the file has; 0 once it was removed, or another file took its name."""

    links: int
    bytes: int


class DiskFile(Protocol):
    """A file open for writing. Used by one thread at a time."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data` at byte `offset`; the file grows where it must."""

    def write_durably(self, offset: int, data: bytes) -> None:
        """`write_at`, and return once the bytes, and the size needed to read them, are on the disk."""

    def durable_descriptor(self) -> int | None:
        """A descriptor of the file, whose writes are durable once they have returned; None where there is none."""

    def begin_sync(self, offset: int, length: int) -> None:
        """Have these bytes brought to the disk from now on, without waiting and without a promise."""

    def sync(self) -> None:
        """Return once bytes and all metadata of the file are on the disk."""

    def status(self) -> FileStatus:
        """How many names the file has, and its size. Cheap: it waits for no disk."""

    def close(self) -> None:
        """Close without syncing. A second call does nothing."""


class DiskReader(Protocol):
    """A file open for reading: it stays readable though its name goes to another file, or goes away."""

    @property
    def size(self) -> int:
        """Size in bytes when it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end of the file."""

    def close(self) -> None:
        """A second call does nothing."""


class Disk(Protocol):
    """One directory. Different files may be used from different threads."""

    def names(self) -> list[str]:
        """All file names, sorted."""

    def size(self, name: str) -> int:
        """Size in bytes."""

    def data_end(self, name: str) -> int:
        """An offset from which on the file reads as zeros; as small as is cheaply known, at most its size."""

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        """Up to `length` bytes (-1: all) from `offset`; fewer only at the end of the file."""

    def open(self, name: str) -> DiskReader:
        """The file of that name as it is now."""

    def gives(self, name: str, file: DiskFile) -> bool:
        """Whether the directory is still the one that was opened, and `name` leads to this very file."""

    def keep_lock(self) -> None:
        """Make sure that no other process can lock the directory. A lock file that was removed is made again; OSError
        if another process holds it."""

    def create(self, name: str, size: int) -> DiskFile:
        """A new file of `size` zero bytes, preallocated; one of that name is emptied first."""

    def rename(self, old: str, new: str) -> None:
        """Atomically give `old` the name `new`, replacing what had it."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sync_directory(self) -> None:
        """Return once all names are on the disk."""

    def free_bytes(self) -> int:
        """The bytes that this process can still write."""
