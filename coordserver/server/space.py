"""A full disk: noticed while there is still a reserve, used to make room, over when there is room again.

Connections and sessions stay throughout. What is refused meanwhile is said in core/room.py, when it begins and ends in
storage/space.py. When it begins all snapshots but the newest go, and one is taken into the reserve, which makes the log
before it superfluous; another one follows when enough was deleted since, or those who delete have come to rest.
"""

from __future__ import annotations

import logging

import trio

from coordserver.core.engine import Engine
from coordserver.core.room import DiskRoom
from coordserver.server.commit import Committer
from coordserver.server.snapshots import Snapshotter
from coordserver.storage.disk import Disk
from coordserver.storage.errors import StorageError
from coordserver.storage.snapshots import retain
from coordserver.storage.space import Fullness, SpacePolicy, estimated_snapshot_bytes
from coordserver.storage.txnlog import TxnLog

_logger = logging.getLogger(__name__)

LOOK_S = 0.5
_ROOMS = {Fullness.ENOUGH: DiskRoom.ENOUGH, Fullness.LOW: DiskRoom.LOW, Fullness.NONE: DiskRoom.NONE}
_SAYS = {
    Fullness.ENOUGH: "the disk has room again: %d MiB free",
    Fullness.LOW: "the disk is full: %d MiB free, less than the reserve of %d MiB; only deletes are taken",
    Fullness.NONE: "the disk is full to the last: %d MiB free; nothing is written, no session expires",
}


class SpaceKeeper:
    """Looks at the disk twice a second and does what there is to do."""

    def __init__(
        self,
        disk: Disk,
        log: TxnLog,
        engine: Engine,
        committer: Committer,
        snapshotter: Snapshotter,
        policy: SpacePolicy,
    ) -> None:
        self._disk = disk
        self._log = log
        self._engine = engine
        self._committer = committer
        self._snapshotter = snapshotter
        self._policy = policy
        self._kept = snapshotter.kept
        self._shrunk_at = -1
        self._size_then = 0
        self._size_seen = -1
        self.fullness = Fullness.ENOUGH
        self.free_bytes = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await trio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once, and make room if there is need."""
        try:
            self.free_bytes = await trio.to_thread.run_sync(self._disk.free_bytes)
        except OSError as error:
            _logger.warning("cannot tell how full the disk is: %s", error.strerror or error)
            return
        snapshot_bytes = self._snapshot_bytes(self._snapshotter.last_bytes)
        fullness = self._policy.judge(self.fullness, self.free_bytes, self._log.segment_left, snapshot_bytes)
        self._enter(Fullness.NONE if self._committer.stalled else fullness, snapshot_bytes)
        size = self._snapshot_bytes(0)
        quiet, self._size_seen = size == self._size_seen, size
        if self.fullness is not Fullness.ENOUGH and self._worth_shrinking(size, quiet):
            await self._make_room()

    def _snapshot_bytes(self, last: int) -> int:
        machine = self._engine.machine
        others = len(machine.sessions) + len(machine.ring)
        return estimated_snapshot_bytes(len(machine.tree.nodes), machine.tree.data_bytes, others, last)

    def _enter(self, fullness: Fullness, snapshot_bytes: int) -> None:
        self._engine.room.set_disk(_ROOMS[fullness])
        self._snapshotter.kept = self._kept if fullness is Fullness.ENOUGH else 1
        if fullness is self.fullness:
            return
        self.fullness = fullness
        free_mb, reserve_mb = self.free_bytes >> 20, self._policy.reserve(snapshot_bytes) >> 20
        if fullness is Fullness.ENOUGH:
            self._shrunk_at = -1
            _logger.warning(_SAYS[fullness], free_mb)
        elif fullness is Fullness.LOW:
            _logger.error(_SAYS[fullness], free_mb, reserve_mb)
        else:
            _logger.error(_SAYS[fullness], free_mb)

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

    async def _make_room(self) -> None:
        self._shrunk_at = self._log.statistics().bytes_written
        self._size_then = self._snapshot_bytes(0)
        try:
            await trio.to_thread.run_sync(retain, self._disk, 1)
            free = await trio.to_thread.run_sync(self._disk.free_bytes)
        except (StorageError, OSError) as error:
            _logger.warning("cannot make room: %s", error)
            return
        if free > self._snapshot_bytes(0) and self._engine.machine.index > self._snapshotter.last_index:
            await self._snapshotter.take()
