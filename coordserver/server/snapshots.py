"""Snapshots while serving.

The rows are gathered in slices between which sockets are served. The state must not change meanwhile, so the
applying of new records waits (they go on to the log); reads do not. Encoding and writing happen after that, a chunk
at a time in a thread: a chunk is short, because a thread that computes holds up the loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import trio

from coordserver.core.machine import Machine
from coordserver.core.snapshot import Row, RowDigest
from coordserver.server.commit import Committer
from coordserver.storage.disk import Disk
from coordserver.storage.errors import StorageError
from coordserver.storage.snapshots import SnapshotInfo, SnapshotWriter, retain

_log = logging.getLogger(__name__)

CHECK_S = 0.5
SLICE_S = 0.002
CHUNK_ROWS = 1_000
CHUNK_BYTES = 256 * 1024


class Snapshotter:
    """Takes one every `every` records, and when told to. `last_index`: of the last one, or where this start began.

    `last`: zxid of the last one taken, and the second since 1970 at which it was there.
    """

    def __init__(self, disk: Disk, machine: Machine, committer: Committer, *, every: int, kept: int) -> None:
        self._disk = disk
        self._machine = machine
        self._committer = committer
        self._every = every
        self._kept = kept
        self._due = machine.index + every
        self.last_index = machine.index
        self.last: tuple[int, int] | None = None
        self.taken = 0
        self._asked: list[Callable[[SnapshotInfo | None, int], None]] = []
        self._wake = trio.Event()
        self.total_s = 0.0
        self.max_s = 0.0

    async def run(self) -> None:
        """Take snapshots when they are due, until cancelled."""
        while True:
            with trio.move_on_after(CHECK_S):
                await self._wake.wait()
            self._wake = trio.Event()
            asked, self._asked = self._asked, []
            if asked or self._machine.index >= self._due:
                info = await self.take()
                for told in asked:
                    told(info, self.last[0] if self.last is not None else 0)

    def ask(self, told: Callable[[SnapshotInfo | None, int], None]) -> None:
        """Have one taken soon, of the state as it is now or later; `told` gets it and its zxid, or None."""
        self._asked.append(told)
        self._wake.set()

    async def take(self) -> SnapshotInfo | None:
        """Take one now. None, and a line in the log, if it cannot be written; the log still has everything."""
        started = time.perf_counter()
        async with self._committer.paused() as index:
            rows, zxid = await self._gather(), self._machine.zxid
        self._due = index + self._every
        try:
            info = await self._write(index, rows)
        except StorageError as error:
            _log.error("snapshot at index %d failed, the log is kept: %s", index, error)
            return None
        self.last_index = index
        self.last = zxid, int(time.time())
        elapsed = time.perf_counter() - started
        self.taken += 1
        self.total_s += elapsed
        self.max_s = max(self.max_s, elapsed)
        _log.info("%s: %d rows, %d bytes in %.2f s", info.name, info.rows, info.bytes, elapsed)
        return info

    async def _gather(self) -> list[Row]:
        gathered: list[Row] = []
        source = self._machine.snapshot_rows()
        while _gather_slice(source, gathered):  # noqa: ASYNC110 - sockets are served between two slices
            await trio.lowlevel.checkpoint()
        return gathered

    async def _write(self, index: int, rows: list[Row]) -> SnapshotInfo:
        writer = await trio.to_thread.run_sync(SnapshotWriter, self._disk, index, self._machine.history_id)
        digest = RowDigest()
        finished = False
        try:
            for chunk in _chunks(rows):
                digest.update(chunk)
                await trio.to_thread.run_sync(writer.add, chunk)
            info = await trio.to_thread.run_sync(writer.finish, digest.value())
            finished = True
        finally:
            if not finished:
                writer.abort()
        await trio.to_thread.run_sync(retain, self._disk, self._kept)
        return info


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in pieces that are short to work on: bounded in number, and in bytes of data."""
    start = size = 0
    for at, row in enumerate(rows):
        if at - start >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield rows[start:at]
            start, size = at, 0
        data = row[2]
        if type(data) is bytes:
            size += len(data)
    yield rows[start:]


def _gather_slice(source: Iterator[Row], into: list[Row]) -> bool:
    """Take rows for about `SLICE_S`; False when there are no more."""
    deadline = time.perf_counter() + SLICE_S
    while time.perf_counter() < deadline:
        for _ in range(100):
            row = next(source, None)
            if row is None:
                return False
            into.append(row)
    return True
