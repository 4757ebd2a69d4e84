"""Snapshots on the disk: written whole or not at all, checked when read, kept in number.

A file under its snapshot name is complete and synced, for it is written under another and renamed. Whoever reads
one checks every block's checksum, the number of rows, the index, and that the state built from it would be written as
the very same rows: they are packed again, and their digest is held against the one of those in the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, TypeVar

import attrs

from coordserver.core.model.errors import KeeperError
from coordserver.storage.disk import Disk, DiskFile
from coordserver.storage.errors import CorruptionError, StorageError
from coordserver.storage.file_header import (
    HEADER_BYTES,
    SALT_BYTES,
    SNAPSHOT_MAGIC,
    SNAPSHOT_VERSION,
    FileHeader,
    decode_header,
    encode_header,
)
from coordserver.storage.layout import snapshot_indexes, snapshot_name, temporary
from coordserver.storage.snapshot_format import (
    BLOCK_HEADER_BYTES,
    RowsDigest,
    SnapshotEncoder,
    decode_block_header,
    decode_last,
    decode_rows,
    digest_of,
)
from coordserver.storage.state import State
from coordserver.storage.txnlog import purge_log

SNAPSHOTS_KEPT = 3
BEGIN_SYNC_BYTES = 2 * 1024 * 1024
"""So much is sent on its way at a time."""
SYNC_BYTES = 16 * 1024 * 1024
"""Written between two syncs, by when most of it has arrived: one sync of all at the end would hold up those of the log
for as long as it takes, and each one makes the file system commit, for which the log waits too."""

S = TypeVar("S", bound=State)


@attrs.frozen
class SnapshotInfo:
    """A snapshot that is on the disk."""

    name: str
    index: int
    bytes: int
    rows: int


class SnapshotWriter:
    """Writes one snapshot: `add` rows in slices, then `finish`, or `abort`.

    Every method but `encode` blocks on the disk. All raise StorageError when it fails; the file is then gone or will be
    at the next start. The rows must be those of one index, whether or not the state changes between the first and the
    last.
    """

    def __init__(
        self,
        disk: Disk,
        index: int,
        history_id: bytes,
        *,
        name: str = "",
        salt: Callable[[], bytes] = lambda: os.urandom(SALT_BYTES),
    ) -> None:
        """`name` where the file is not one of a data directory."""
        self._disk = disk
        self._index = index
        self._name = name or snapshot_name(index)
        header = encode_header(FileHeader(SNAPSHOT_MAGIC, history_id, index, 0, salt(), SNAPSHOT_VERSION))
        _, seed = decode_header(self._name, header, SNAPSHOT_MAGIC)
        self._encoder = SnapshotEncoder(seed)
        self._digest = RowsDigest()
        self._position = self._begun = self._synced = 0
        self._file: DiskFile | None = None
        try:
            self._file = disk.create(temporary(self._name), 0)
            self._write(header)
        except OSError as error:
            raise self._failed(error) from error

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write more rows."""
        for block in self.encode(rows):
            self.write(block)

    def encode(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
        """Take more rows, without the disk: the blocks that became full, to be given to `write` in their order."""
        return self._encoder.add(rows)

    def write(self, block: bytes) -> None:
        """Write a block that `encode` gave."""
        self._digest.add(block)
        try:
            self._write(block)
            self._send_on()
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> SnapshotInfo:
        """Close the snapshot with the digest of its rows. On return it is durable under its name."""
        rest = self._encoder.rest()
        if rest:
            self.write(rest)
        try:
            self._write(self._encoder.last(self._digest.value()))
            assert self._file is not None
            self._file.sync()
            self._file.close()
            self._disk.rename(temporary(self._name), self._name)
            self._disk.sync_directory()
        except OSError as error:
            raise self._failed(error) from error
        return SnapshotInfo(self._name, self._index, self._position, self._encoder.rows)

    def abort(self) -> None:
        """Throw away what was written. Never raises."""
        if self._file is not None:
            self._file.close()
        with suppress(OSError):
            self._disk.remove(temporary(self._name))

    def _send_on(self) -> None:
        assert self._file is not None
        if self._position - self._synced >= SYNC_BYTES:
            self._file.sync()
            self._synced = self._begun = self._position
        elif self._position - self._begun >= BEGIN_SYNC_BYTES:
            self._file.begin_sync(self._begun, self._position - self._begun)
            self._begun = self._position

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write_at(self._position, data)
        self._position += len(data)

    def _failed(self, error: OSError) -> StorageError:
        self.abort()
        return StorageError(f"{self._name}: cannot write the snapshot: {error.strerror or error}")


def save_snapshot(disk: Disk, state: State, *, name: str = "") -> SnapshotInfo:
    """Write the state as a snapshot, all at once, under another name if one is given. Raises StorageError."""
    writer = SnapshotWriter(disk, state.index, state.history_id, name=name)
    writer.add(state.snapshot_rows())
    return writer.finish()


def load_snapshot(disk: Disk, index: int, states: type[S]) -> S:
    """The state that the snapshot of `index` holds.

    Raises CorruptionError (which says what is wrong), NewerFormatError, and OSError from the disk.
    """
    name = snapshot_name(index)
    state = read_snapshot(disk, name, states)
    if state.index != index:
        raise CorruptionError(f"{name}: it holds the state after index {state.index}")
    return state


def read_snapshot(disk: Disk, name: str, states: type[S]) -> S:
    """The state that the snapshot in the file `name` holds, whatever that is called. Raises as `load_snapshot`."""
    header, seed = decode_header(name, disk.read(name, 0, HEADER_BYTES), SNAPSHOT_MAGIC)
    rows = _RowReader(disk, name, seed)
    try:
        state = states.from_snapshot(chain.from_iterable(rows.blocks))
        rows.drain()
    except (ValueError, TypeError, LookupError, AttributeError, KeeperError) as error:
        raise CorruptionError(f"{name}: no state can be built from it: {error!r}") from error
    except StorageError as error:
        if isinstance(error, CorruptionError):
            raise
        raise StorageError(f"{name}: whole, but not for this server: {error}") from error
    if (header.index, header.history_id) != (state.index, state.history_id):
        raise CorruptionError(f"{name}: its header says index {header.index}, its rows say {state.index}")
    digest = state.digest() if header.version == 1 else digest_of(state.snapshot_rows())
    if digest != rows.digest:
        raise CorruptionError(
            f"{name}: the state's digest is {_shown(digest)}, it was {_shown(rows.digest)} when written"
        )
    return state


def _shown(digest: bytes | int) -> str:
    return digest.hex() if isinstance(digest, bytes) else f"{digest:016x}"


class _RowReader:
    """Reads block by block, so that memory holds one block beside the state."""

    def __init__(self, disk: Disk, name: str, seed: int) -> None:
        self._disk = disk
        self._name = name
        self._seed = seed
        self._position = HEADER_BYTES
        self.blocks = self._read()
        self.digest: bytes | int = -1

    def drain(self) -> None:
        """Check whatever the reader of the rows did not ask for."""
        for _ in self.blocks:
            pass

    def _read(self) -> Iterator[tuple[tuple[Any, ...], ...]]:
        size = self._disk.size(self._name)
        total = 0
        try:
            while True:
                header = decode_block_header(self._take(BLOCK_HEADER_BYTES), self._seed)
                payload = self._take(header.length)
                if header.rows == 0:
                    expected, self.digest = decode_last(header, payload, self._seed)
                    break
                rows = decode_rows(header, payload, self._seed)
                self._seed = header.crc
                total += len(rows)
                yield rows
            if total != expected or self._position != size:
                raise ValueError(f"{total} rows instead of {expected}, or bytes behind the last block")
        except ValueError as error:
            raise CorruptionError(f"{self._name}: corrupt before offset {self._position}: {error}") from error

    def _take(self, length: int) -> bytes:
        data = self._disk.read(self._name, self._position, length)
        self._position += len(data)
        return data


def retain(disk: Disk, keep: int = SNAPSHOTS_KEPT) -> list[str]:
    """Remove all snapshots but the newest `keep`, and the log that none of those needs; the names removed.

    Call it after a snapshot was written; any thread may. Raises StorageError.
    """
    try:
        indexes = snapshot_indexes(disk.names())
        doomed = [snapshot_name(index) for index in indexes[:-keep]]
        for name in doomed:
            disk.remove(name)
        if doomed:
            disk.sync_directory()
        # The empty state counts as a snapshot of index 0: while there are few, the whole log stands in for a bad one.
        oldest = [0, *indexes][-keep:][0]
        return doomed + purge_log(disk, oldest + 1)
    except OSError as error:
        raise StorageError(f"cannot remove old snapshots and log segments: {error.strerror or error}") from error
