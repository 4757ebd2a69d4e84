"""A disk in memory that loses what was not synced, and fails when it is told to.

It keeps three things apart, as a kernel does:

    visible     what a read gives: every write so far (the page cache)
    pending     writes and names not yet synced: each may or may not reach the medium
    durable     what a power cut leaves

`crash` is the power cut: every pending write reaches the medium whole, in part (by sectors of 512 bytes) or not at
all, as a Random decides, in no order; of the names a first part becomes durable. `restart` is the end of the
process alone: what is visible stays, but nothing pending becomes durable by it. A sync that fails forgets what was
pending without making it durable, and a later one succeeds: just what Linux does, and why a failed fsync must never
be tried again.

`fail_at(n)` makes the n-th operation from now fail with an OSError; a failing write or sync is done in part. `flip`
damages what is on the medium.
"""

from __future__ import annotations

import errno
import os
from random import Random

import attrs

from coordserver.storage.disk import DiskFile, FileStatus

SECTOR_BYTES = 512


@attrs.define(eq=False)
class _Inode:
    """A file's bytes; names point to it."""

    visible: bytearray = attrs.field(factory=bytearray)
    durable: bytearray = attrs.field(factory=bytearray)
    pending: list[tuple[int, bytes]] = attrs.field(factory=list)

    def write(self, offset: int, data: bytes) -> None:
        _put(self.visible, offset, data)
        self.pending.append((offset, data))

    def settle(self, random: Random | None) -> None:
        """Carry the pending writes to the medium: all, or what `random` picks."""
        for offset, data in self.pending:
            if random is None:
                _put(self.durable, offset, data)
            else:
                self._settle_torn(offset, data, random)
        self.pending.clear()

    def _settle_torn(self, offset: int, data: bytes, random: Random) -> None:
        fate = random.choice(("whole", "lost", "torn"))
        if fate == "lost":
            return
        start = 0
        while start < len(data):
            end = min(len(data), start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES)
            if fate == "whole" or random.random() < 0.5:
                _put(self.durable, offset + start, data[start:end])
            start = end


class MemoryFile:
    """A DiskFile of a MemoryDisk. After a crash or restart it belongs to a dead process: its methods fail."""

    def __init__(self, disk: MemoryDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._life = disk.life

    def write_at(self, offset: int, data: bytes) -> None:
        self._alive()
        failure = self._disk.step()
        if failure is not None:
            short = self._disk.random.randrange(len(data) + 1)
            if short:
                self._inode.write(offset, bytes(data[:short]))
            raise failure
        self._inode.write(offset, bytes(data))

    def write_durably(self, offset: int, data: bytes) -> None:
        self.write_at(offset, data)
        self.sync()

    def durable_descriptor(self) -> None:
        """There is none."""

    def begin_sync(self, offset: int, length: int) -> None:
        """Chance decides anyway, when it crashes, what of it is there."""

    def sync(self) -> None:
        self._alive()
        failure = self._disk.step()
        self._inode.settle(None if failure is None else self._disk.random)
        if failure is not None:
            raise failure

    def status(self) -> FileStatus:
        return FileStatus(self._disk.links_of(self._inode), len(self._inode.visible))

    def is_inode(self, inode: _Inode) -> bool:
        """Whether this is that inode's file."""
        return self._inode is inode

    def close(self) -> None:
        """Nothing to do: the disk keeps the bytes."""

    def _alive(self) -> None:
        if self._life != self._disk.life:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class MemoryReader:
    """A DiskReader of a MemoryDisk."""

    def __init__(self, disk: MemoryDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode
        self.size = len(inode.visible)

    def read(self, offset: int, length: int) -> bytes:
        failure = self._disk.step()
        if failure is not None:
            raise failure
        return bytes(self._inode.visible[offset : offset + length])

    def close(self) -> None:
        """Nothing to do."""


class MemoryDisk:
    """A Disk (coordserver.storage.disk) in memory. `random` decides all that is left to chance."""

    def __init__(self, random: Random | None = None, *, capacity_bytes: int = 1 << 40) -> None:
        self.random = random or Random(0)
        self.life = 0
        self.operations = 0
        self._capacity_bytes = capacity_bytes
        self._visible: dict[str, _Inode] = {}
        self._names_pending: list[dict[str, _Inode]] = []
        self._durable: dict[str, _Inode] = {}
        self._fail_at = 0
        self._failure = errno.EIO
        self._repeat = False

    def names(self) -> list[str]:
        self._step()
        return sorted(self._visible)

    def size(self, name: str) -> int:
        self._step()
        return len(self._inode(name).visible)

    def data_end(self, name: str) -> int:
        self._step()
        return len(self._inode(name).visible.rstrip(b"\0"))

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        self._step()
        visible = self._inode(name).visible
        return bytes(visible[offset:] if length < 0 else visible[offset : offset + length])

    def open(self, name: str) -> MemoryReader:
        self._step()
        return MemoryReader(self, self._inode(name))

    def gives(self, name: str, file: DiskFile) -> bool:
        assert isinstance(file, MemoryFile)
        return name in self._visible and file.is_inode(self._visible[name])

    def keep_lock(self) -> None:
        """No other process sees this memory."""

    def links_of(self, inode: _Inode) -> int:
        """How many names lead to it."""
        return sum(other is inode for other in self._visible.values())

    def create(self, name: str, size: int) -> MemoryFile:
        self._step()
        if size > self.free():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        # Reserved room is on the medium with the name: that it reads as zeros there is the file system's own promise.
        inode = _Inode(bytearray(size), bytearray(size))
        self._rename_visible({**self._visible, name: inode})
        return MemoryFile(self, inode)

    def rename(self, old: str, new: str) -> None:
        self._step()
        names = dict(self._visible)
        names[new] = names.pop(old) if old in names else self._inode(old)
        self._rename_visible(names)

    def remove(self, name: str) -> None:
        self._step()
        self._inode(name)
        self._rename_visible({other: inode for other, inode in self._visible.items() if other != name})

    def sync_directory(self) -> None:
        failure = self.step()
        if failure is not None:
            self._settle_names()
            raise failure
        self._durable = dict(self._visible)
        self._names_pending.clear()

    def free_bytes(self) -> int:
        self._step()
        return self.free()

    def free(self) -> int:
        """The bytes that can still be written. The call does not count as an operation."""
        return self._capacity_bytes - sum(len(inode.visible) for inode in self._visible.values())

    def fail_at(self, operation: int, code: int = errno.EIO, *, repeat: bool = False) -> None:
        """Let the n-th operation from now (1: the next) fail with this errno; with `repeat` each later one too."""
        self._fail_at = self.operations + operation
        self._failure = code
        self._repeat = repeat

    def heal(self) -> None:
        """Nothing fails any more."""
        self._fail_at = 0

    def crash(self) -> None:
        """Cut the power, and start the machine again: only what is durable remains."""
        self._settle_names()
        for inode in {id(inode): inode for inode in [*self._visible.values(), *self._durable.values()]}.values():
            inode.settle(self.random)
            inode.visible = bytearray(inode.durable)
        self._visible = dict(self._durable)
        self.restart()

    def restart(self) -> None:
        """End the process that used the disk. The machine keeps running: what is visible stays visible, and pending."""
        self.life += 1
        self.heal()

    def flip(self, name: str, offset: int, mask: int = 1) -> None:
        """Damage one byte on the medium (and in the cache)."""
        inode = self._inode(name)
        inode.visible[offset] ^= mask
        inode.durable[offset] ^= mask

    def truncate(self, name: str, size: int) -> None:
        """Cut a file short, on the medium and in the cache."""
        inode = self._inode(name)
        del inode.visible[size:]
        del inode.durable[size:]

    def put(self, name: str, data: bytes) -> None:
        """Lay a durable file down, as if it had always been there."""
        inode = _Inode(bytearray(data), bytearray(data))
        self._visible[name] = inode
        self._durable[name] = inode

    def files(self) -> dict[str, bytes]:
        """All that is visible, without counting as an operation."""
        return {name: bytes(inode.visible) for name, inode in self._visible.items()}

    def step(self) -> OSError | None:
        """Count an operation; the error with which it is to fail, if so."""
        self.operations += 1
        if not self._fail_at or self.operations < self._fail_at:
            return None
        if self.operations > self._fail_at and not self._repeat:
            return None
        return OSError(self._failure, os.strerror(self._failure))

    def _step(self) -> None:
        failure = self.step()
        if failure is not None:
            raise failure

    def _inode(self, name: str) -> _Inode:
        inode = self._visible.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return inode

    def _rename_visible(self, names: dict[str, _Inode]) -> None:
        self._visible = names
        self._names_pending.append(names)

    def _settle_names(self) -> None:
        """Of the changes of names, the first few become durable."""
        done = self.random.randrange(len(self._names_pending) + 1)
        if done:
            self._durable = dict(self._names_pending[done - 1])
        self._names_pending.clear()


def _put(target: bytearray, offset: int, data: bytes) -> None:
    end = offset + len(data)
    if end > len(target):
        target.extend(bytes(end - len(target)))
    target[offset:end] = data
