"""Snapshots while serving.

The state at one zxid is walked over in slices, between which sockets are served and writes applied (core/walk.py says
how it stays that state). Rows are turned into bytes within their slice, because a thread that computes makes the loop
wait for the interpreter; a thread writes, and takes their digest, for which it does not need that.

Applying waits in two places, while reads and the log go on: while the paths are copied, about 10 ns a znode; and once
the rows that had to be saved ahead of the walk would take more than `SAVED_BYTES`, until the walk has taken enough of
them, so that memory is bounded however fast the tree changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import trio

from coordserver.core.state.machine import Machine
from coordserver.core.state.snapshot import Row
from coordserver.core.state.walk import StateWalk
from coordserver.server.replica import Replica
from coordserver.storage.disk import Disk
from coordserver.storage.errors import StorageError
from coordserver.storage.layout import log_indexes, needed_for_start
from coordserver.storage.snapshots import SnapshotInfo, SnapshotWriter, retain

_log = logging.getLogger(__name__)

CHECK_S = 0.5
LOOK_S = 2.0
"""How often the data directory is checked for the files that a start would need."""
AGAIN_S = 30.0
"""How long after a snapshot that failed such a file waits for another."""
SLICE_S = 0.001
REST_S = 0.001
"""Between two slices: requests and the log's thread have the interpreter to themselves, and a process that rests is not
the first to wait for a processor. Half as fast, for a half of what the slowest request waited (measured)."""
SLICE_PATHS = 50_000
SAVED_BYTES = 64 * 1024 * 1024
_TURN_ROWS = 20
_TURN_BYTES = 32 * 1024


class Snapshotter:
    """Takes one every `every` records, and when told to. `last_index`: of the last one; at first that on which this
    start was built.

    `kept`: how many stay on the disk. `last`: zxid of the last one taken, and the second since 1970 at which it was
    there.
    """

    def __init__(
        self, disk: Disk, machine: Machine, replica: Replica, *, last_index: int, every: int, kept: int
    ) -> None:
        self._disk = disk
        self._machine = machine
        self._replica = replica
        self._every = every
        self.kept = kept
        self._due = last_index + every
        self._one = trio.Lock()
        self.last_index = last_index
        self.last: tuple[int, int] | None = None
        self.last_bytes = 0
        self.taken = 0
        self._asked: list[Callable[[SnapshotInfo | None, int], None]] = []
        self._wake = trio.Event()
        self._starts: set[int] = set()
        self._look_at = 0.0
        self.total_s = 0.0
        self.min_s = 0.0
        self.max_s = 0.0
        self.saved_bytes_max = 0

    async def run(self) -> None:
        """Take snapshots when they are due, until cancelled."""
        while True:
            with trio.move_on_after(CHECK_S):
                await self._wake.wait()
            self._wake = trio.Event()
            asked, self._asked = self._asked, []
            if asked or self._machine.index >= self._due or await self._is_start_at_risk():
                info = await self.take()
                for told in asked:
                    told(info, self.last[0] if self.last is not None else 0)

    async def _is_start_at_risk(self) -> bool:
        """Whether somebody removed a file that a start would need. A snapshot taken now replaces all of them."""
        if trio.current_time() < self._look_at:
            return False
        self._look_at = trio.current_time() + LOOK_S
        async with self._one:
            try:
                names = await trio.to_thread.run_sync(self._disk.names)
            except OSError:
                return False  # the log's own check tells it
            starts = log_indexes(names)
            missing = sorted(set(needed_for_start(self.last_index, self._starts.union(starts))) - set(names))
            self._starts.update(starts)
        if missing:
            self._look_at = trio.current_time() + AGAIN_S  # unless a snapshot succeeds
            _log.error("%s: gone from the data directory; a snapshot is taken in its place", ", ".join(missing))
        return bool(missing)

    def ask(self, told: Callable[[SnapshotInfo | None, int], None]) -> None:
        """Have one taken soon, of the state as it is now or later; `told` gets it and its zxid, or None."""
        self._asked.append(told)
        self._wake.set()

    async def take(self, *, hurried: bool = False) -> SnapshotInfo | None:
        """Take one now, behind one that is being taken. `hurried`: without rests, where nobody is served any more.

        None, and a line that says whether the log still has everything, if it cannot be written.
        """
        async with self._one:
            started = time.perf_counter()
            walk = await self._begin()
            self._due = walk.index + self._every
            try:
                info = await self._write(walk, 0.0 if hurried else REST_S)
                await trio.to_thread.run_sync(retain, self._disk, self.kept)
            except StorageError as error:
                await self._tell_failure(walk.index, error)
                return None
            finally:
                walk.close()
            self._count(walk, info, time.perf_counter() - started)
            return info

    async def _tell_failure(self, index: int, error: StorageError) -> None:
        if await trio.to_thread.run_sync(self._replica.log.is_whole):
            _log.error("snapshot at index %d failed, the log has everything: %s", index, error)
        else:
            _log.error("snapshot at index %d failed, and the log is not whole either: %s", index, error)

    def _count(self, walk: StateWalk, info: SnapshotInfo, elapsed: float) -> None:
        self.last_index = walk.index
        self._starts.clear()
        self._look_at = 0.0
        self.last = walk.zxid, int(time.time())
        self.last_bytes = info.bytes
        self.min_s = min(self.min_s, elapsed) if self.taken else elapsed
        self.taken += 1
        self.total_s += elapsed
        self.max_s = max(self.max_s, elapsed)
        _log.info("%s: %d rows, %d bytes in %.2f s", info.name, info.rows, info.bytes, elapsed)

    async def _begin(self) -> StateWalk:
        async with self._replica.paused():
            walk = StateWalk(self._machine)
            try:
                while walk.gather(SLICE_PATHS):  # noqa: ASYNC110 - sockets are served between two slices
                    await trio.lowlevel.checkpoint()
            except BaseException:
                walk.close()
                raise
        return walk

    async def _write(self, walk: StateWalk, rest_s: float) -> SnapshotInfo:
        writer = await trio.to_thread.run_sync(SnapshotWriter, self._disk, walk.index, self._machine.history_id)
        rows = walk.rows()
        finished = False
        try:
            while await self._step(rows, writer):
                await trio.sleep(rest_s)
                self.saved_bytes_max = max(self.saved_bytes_max, walk.saved_bytes)
                if walk.saved_bytes > SAVED_BYTES:
                    async with self._replica.paused():
                        while walk.saved_bytes > SAVED_BYTES // 2 and await self._step(rows, writer):
                            pass
            info = await trio.to_thread.run_sync(writer.finish)
            finished = True
        finally:
            if not finished:
                writer.abort()
        return info

    async def _step(self, rows: Iterator[Row], writer: SnapshotWriter) -> bool:
        blocks, more = _slice(rows, writer)
        for block in blocks:
            await trio.to_thread.run_sync(writer.write, block)
        if not blocks:
            await trio.lowlevel.checkpoint()
        return more


def _slice(rows: Iterator[Row], writer: SnapshotWriter) -> tuple[list[bytes], bool]:
    """Take rows for about `SLICE_S`: the blocks that became full, and whether there may be more."""
    deadline = time.perf_counter() + SLICE_S
    blocks: list[bytes] = []
    while time.perf_counter() < deadline:
        some = _some(rows)
        if not some:
            return blocks, False
        blocks += writer.encode(some)
    return blocks, True


def _some(rows: Iterator[Row]) -> list[Row]:
    """The next few rows: few in number, and in bytes of data."""
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += len(row[2]) if len(row) > 2 and type(row[2]) is bytes else 0  # not every row is of a znode
        if len(some) >= _TURN_ROWS or size >= _TURN_BYTES:
            break
    return some
