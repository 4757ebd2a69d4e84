"""A full disk: noticed while there is still a reserve, used to make room, over when there is room again.

Connections and sessions stay throughout. What is refused meanwhile is said in core/room.py, when it begins and ends in
storage/space.py. The disk is looked at twice a second, and whenever the log has begun another segment: that is the only
room that clients can make it take, and a fast client fills several segments between two looks.

When it begins a snapshot is taken into the reserve, which makes older snapshots and the log before it superfluous;
another one follows when enough was deleted since, or those who delete have come to rest. It is tried again until
there is one.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from coordserver.core.model.disk_space import DiskSpace
from coordserver.core.serving.engine import Engine
from coordserver.server.replica import Replica
from coordserver.server.snapshots import Snapshotter
from coordserver.storage.disk import Disk
from coordserver.storage.errors import StorageError
from coordserver.storage.snapshots import retain
from coordserver.storage.space import SpacePolicy, estimated_snapshot_bytes
from coordserver.storage.txnlog import TxnLog

_logger = logging.getLogger(__name__)

LOOK_S = 0.5
AGAIN_S = 5.0
"""How long a snapshot that failed is not tried again."""

_SAYS = {
    DiskSpace.ENOUGH: "the disk has room again: %d MiB free",
    DiskSpace.LOW: "the disk is full: %d MiB free, less than the reserve of %d MiB; only deletes are taken",
    DiskSpace.NONE: "the disk is full to the last: %d MiB free; nothing is written, no session expires",
}


class DiskGuard:
    """Looks at the disk and does what there is to do."""

    def __init__(
        self,
        disk: Disk,
        log: TxnLog,
        engine: Engine,
        replica: Replica,
        snapshotter: Snapshotter,
        policy: SpacePolicy,
    ) -> None:
        self._disk = disk
        self._log = log
        self._engine = engine
        self._replica = replica
        self._snapshotter = snapshotter
        self._policy = policy
        self._kept = snapshotter.kept
        self._shrunk_at = -1
        self._size_then = 0
        self._size_seen = -1
        self._said_no_room = False
        self._not_before = 0.0
        self._work = trio.Event()
        self.fullness = DiskSpace.ENOUGH
        self.free_bytes = 0

    async def run(self) -> None:
        """Until cancelled."""
        token = trio.lowlevel.current_trio_token()
        self._log.on_roll = lambda: self._rolled(token)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._make_room_when_due)
                while True:
                    await self.look()
                    await trio.sleep(LOOK_S)
        finally:
            self._log.on_roll = lambda: None

    async def look(self) -> None:
        """Look once, and have room made if there is need."""
        try:
            free = await trio.to_thread.run_sync(self._disk.free_bytes)
        except OSError as error:
            _logger.warning("cannot tell how full the disk is: %s", error.strerror or error)
            return
        self._judge(free)
        size = self._snapshot_bytes(0)
        quiet, self._size_seen = size == self._size_seen, size
        if self.fullness is not DiskSpace.ENOUGH and self._worth_shrinking(size, quiet):
            self._work.set()

    def _rolled(self, token: trio.lowlevel.TrioToken) -> None:
        """In the log's thread: judge at once. What cannot be told now is looked at soon."""
        with suppress(OSError, trio.RunFinishedError):
            token.run_sync_soon(self._judge, self._disk.free_bytes())

    def _judge(self, free: int) -> None:
        self.free_bytes = free
        snapshot_bytes, left = self._snapshot_bytes(self._snapshotter.last_bytes), self._log.segment_left
        fullness = self._policy.judge(self.fullness, free, left, snapshot_bytes)
        self._enter(DiskSpace.NONE if self._replica.stalled else fullness, self._policy.reserve(left, snapshot_bytes))

    def _snapshot_bytes(self, last: int) -> int:
        machine = self._engine.machine
        others = len(machine.sessions) + len(machine.ring)
        return estimated_snapshot_bytes(len(machine.tree.nodes), machine.tree.data_bytes, others, last)

    def _enter(self, fullness: DiskSpace, reserve: int) -> None:
        self._engine.admission.set_disk(fullness)
        self._snapshotter.kept = self._kept if fullness is DiskSpace.ENOUGH else 1
        if fullness is self.fullness:
            return
        if fullness is DiskSpace.ENOUGH:
            self._said_no_room = False
            _logger.warning(_SAYS[fullness], self.free_bytes >> 20)
        elif fullness is DiskSpace.LOW:
            _logger.error(_SAYS[fullness], self.free_bytes >> 20, reserve >> 20)
        else:
            _logger.error(_SAYS[fullness], self.free_bytes >> 20)
        if self.fullness is DiskSpace.ENOUGH:
            self._shrunk_at = -1
            self._not_before = 0.0
            self._work.set()
        self.fullness = fullness

    def _worth_shrinking(self, size: int, quiet: bool) -> bool:
        """At once, and again when a segment's worth was logged, or as much deleted, or a quarter of all: the records of
        deletes are small. And once those who delete have come to rest, however little it was: nothing else would
        ever come to count it.
        """
        logged = self._log.statistics().bytes_written - self._shrunk_at
        deleted = self._size_then - size
        worth = min(self._policy.segment_bytes, self._size_then // 4)
        much = logged >= self._policy.segment_bytes or 0 < worth <= deleted
        return self._shrunk_at < 0 or much or (quiet and deleted > 0)

    async def _make_room_when_due(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            if self.fullness is not DiskSpace.ENOUGH and trio.current_time() >= self._not_before:
                await self._make_room()

    async def _make_room(self) -> None:
        """Until it has been done it stays due: each look asks for it."""
        logged, size = self._log.statistics().bytes_written, self._snapshot_bytes(0)
        covered = self._engine.machine.index <= self._snapshotter.last_index
        try:
            free = await trio.to_thread.run_sync(self._disk.free_bytes)
            if covered or free <= size:
                await trio.to_thread.run_sync(retain, self._disk, 1)
                free = await trio.to_thread.run_sync(self._disk.free_bytes)
        except (StorageError, OSError) as error:
            _logger.warning("cannot make room: %s", error)
            return
        if not covered:
            if free <= size:
                self._say_no_room(size, free)
                return
            if await self._snapshotter.take() is None:
                self._not_before = trio.current_time() + AGAIN_S
                return
        self._shrunk_at, self._size_then = logged, size

    def _say_no_room(self, size: int, free: int) -> None:
        if not self._said_no_room:
            self._said_no_room = True
            _logger.error(
                "no room for a snapshot of %d MiB, behind which the log could go: %d MiB free; delete more, or give "
                "the disk room",
                size >> 20,
                free >> 20,
            )
