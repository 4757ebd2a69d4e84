"""States that come into a data directory from outside: restored backups and imports.

A state that is put into a directory begins a history of its own, so that nothing written before can be taken for a
part of it, and no client goes on as if nothing had happened:

- The history id is drawn anew: watch streams that resume are told RESYNC.
- All sessions end as if each had expired, and their ephemerals go with them.
- The zxid goes on at the next multiple of 2^32 above everything that any client can have seen, whether in the backup's
  history or in the one that is replaced. A ZooKeeper client refuses a server that is behind what it has seen.

How the directory changes: a snapshot and an empty log segment are written under indexes above all names there are. The
segment's name is the moment at which it happens: before it the start is refused (a snapshot of another history), behind
it the new state is the newest. What was there before is renamed, never removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

import attrs

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.core.state.ring import EventRing
from coordserver.storage.disk import Disk
from coordserver.storage.errors import StorageError
from coordserver.storage.file_header import LOG_MAGIC, SALT_BYTES, FileHeader
from coordserver.storage.layout import log_indexes, log_name, snapshot_indexes, snapshot_name
from coordserver.storage.recovery import HISTORY_ID_BYTES, read_state
from coordserver.storage.segment import write_segment
from coordserver.storage.snapshots import read_snapshot, save_snapshot
from coordserver.storage.txnlog import SEGMENT_BYTES

_EPOCH_BITS = 32


@attrs.frozen
class Installed:
    """What became of a data directory. `set_aside` are the new names of the files that were there."""

    history_id: bytes
    index: int
    zxid: int
    znodes: int
    sessions_ended: int
    set_aside: tuple[str, ...]


def restore(
    disk: Disk,
    state: Machine,
    *,
    wall_ms: int | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
    segment_bytes: int = SEGMENT_BYTES,
) -> Installed:
    """Make the tree of `state`, which is used up by it, what a server on this directory starts with.

    The directory may be empty or hold anything, damaged or not. Raises StorageError; then the directory either is as
    it was, or a start on it is refused, and this may be tried again.
    """
    names = disk.names()
    seen = max(state.zxid, _last_zxid(disk))
    taken = [*snapshot_indexes(names), *log_indexes(names)]
    ended = end_sessions(state, int(time.time() * 1000) if wall_ms is None else wall_ms)
    begin_history(state, entropy(HISTORY_ID_BYTES), max([0, *taken]) + 1, max(seen, state.zxid))
    try:
        save_snapshot(disk, state)
        header = FileHeader(LOG_MAGIC, state.history_id, state.index + 1, 0, entropy(SALT_BYTES))
        write_segment(disk, header, b"", None, segment_bytes).file.close()
        aside = _set_aside(disk, names, state)
    except OSError as error:
        raise StorageError(f"the disk failed: {error.strerror or error}") from error
    return Installed(state.history_id, state.index, state.zxid, len(state.tree.nodes), ended, aside)


def end_sessions(state: Machine, wall_ms: int) -> int:
    """End every session as if it had expired; how many there were."""
    ids = list(state.sessions)
    for session_id in ids:
        state.apply(state.index + 1, Record(int(Op.CLOSE_SESSION), session_id, 0, 0, wall_ms, (), ()))
    return len(ids)


def begin_history(state: Machine, history_id: bytes, index: int, seen_zxid: int) -> None:
    """Give the state another history: no events of the old one, and a zxid that none has seen."""
    state.history_id = history_id
    state.index = index
    state.zxid = ((seen_zxid >> _EPOCH_BITS) + 1) << _EPOCH_BITS
    state.ring = EventRing()
    state.ring.floor = state.zxid


def _last_zxid(disk: Disk) -> int:
    """The highest zxid that is known of what lies in the directory. What lies behind damage cannot be read, but there
    the next multiple of 2^32 leaves room for.
    """
    try:
        return read_state(disk, Machine)[0].zxid
    except StorageError:
        pass
    for index in reversed(snapshot_indexes(disk.names())):
        with suppress(StorageError):
            return read_snapshot(disk, snapshot_name(index), Machine).zxid
    return 0


def _set_aside(disk: Disk, names: list[str], state: Machine) -> tuple[str, ...]:
    """Rename the files of the history before, so that recovery leaves them alone and purging does not remove them."""
    old = [snapshot_name(index) for index in snapshot_indexes(names)] + [log_name(i) for i in log_indexes(names)]
    suffix = f".before-{state.history_id.hex()[:8]}"
    for name in old:
        disk.rename(name, name + suffix)
    if old:
        disk.sync_directory()
    return tuple(name + suffix for name in old)
