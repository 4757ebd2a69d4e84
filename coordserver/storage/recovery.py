"""From what lies on the disk to a running state and an open log.

    recovery = Recovery(disk, Machine)           # the newest snapshot's state, and the log behind it; only reads
    replay(recovery.state, recovery.log)         # every record behind the snapshot; the caller may apply them otherwise
    recovered = recovery.open()                  # the log, to append to and to read from

The state is that of the newest snapshot that can be trusted. What a crash may leave, and what it means:

- Temporary files: removed.
- A torn tail, that is bytes behind the last whole batch of the last segment, and no batch header behind them that says
  that they were synced: the rest of an append that was never acknowledged. It is cut off, with one line that says so.
- A bad batch with a batch header behind it that says that it was synced ("synced up to"), or in a segment that has a
  successor: it may have been acknowledged, and it is damaged now. The start is refused, saying where; the disk stays
  as it is.
- A bad snapshot: the one before it plus more log gives the same state. That is done, and said loudly; the bad one is
  set aside, for it must never be the one that is kept.
- Any file of a later format version: refused.

At last the valid part of the last segment is written anew and synced, file and directory. What was read came
through the kernel's page cache, which may hold bytes of a failed or unfinished fsync that are not on the disk; they
must be before anything that depends on them leaves the server.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from coordserver.core.state.machine import Machine
from coordserver.storage.batch_format import LogEntry, encode_batch
from coordserver.storage.disk import Disk
from coordserver.storage.errors import CorruptionError, StorageError
from coordserver.storage.file_header import LOG_MAGIC, SALT_BYTES, FileHeader
from coordserver.storage.layout import damaged, is_temporary, log_indexes, log_name, snapshot_indexes, snapshot_name
from coordserver.storage.record_format import encode_records
from coordserver.storage.segment import ADVICE, Segment, SegmentReader, write_segment
from coordserver.storage.snapshots import load_snapshot
from coordserver.storage.state import State
from coordserver.storage.stored_log import StoredLog, replay
from coordserver.storage.txnlog import SEGMENT_BYTES, TxnLog

_log = logging.getLogger(__name__)

HISTORY_ID_BYTES = 16

S = TypeVar("S", bound=State)


@attrs.frozen
class Recovered(Generic[S]):
    """What the server starts from. `report` has the lines that were logged: for the operator, oldest first.

    `snapshot_index`: of the snapshot that it was built on, 0 if there was none.
    """

    machine: S
    next_index: int
    log: TxnLog
    report: tuple[str, ...]
    snapshot_index: int


def recover_state(
    disk: Disk,
    states: type[S],
    *,
    segment_bytes: int = SEGMENT_BYTES,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Recovered[S]:
    """Recover what the directory holds, or begin a new history in an empty one.

    Nothing on the disk is changed before it is sure that the start succeeds. `entropy` gives a new history its id and
    each segment its salt. Raises StorageError (CorruptionError, NewerFormatError, DiskSpaceError).
    """
    recovery = Recovery(disk, states, segment_bytes=segment_bytes, entropy=entropy)
    replay(recovery.state, recovery.log)
    return recovery.open()


def read_state(disk: Disk, states: type[S]) -> tuple[S, tuple[str, ...]]:
    """What `recover_state` would start with, and its lines. Nothing is changed, not even temporary files are removed.

    Raises StorageError as it does, and where there is neither log nor snapshot.
    """
    recovery = Recovery(disk, states)
    if recovery.log.empty:
        raise StorageError("there is neither a log segment nor a snapshot")
    replay(recovery.state, recovery.log)
    return recovery.state, recovery.outlook()


def recover(disk: Disk, *, segment_bytes: int = SEGMENT_BYTES) -> Recovered[Machine]:
    """`recover_state` of the server's state machine."""
    return recover_state(disk, Machine, segment_bytes=segment_bytes)


class Recovery(Generic[S]):
    """The newest snapshot's state, and the log behind it, of which nothing is applied yet. The disk is as it was."""

    def __init__(
        self,
        disk: Disk,
        states: type[S],
        *,
        segment_bytes: int = SEGMENT_BYTES,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """As `recover_state`."""
        self._disk = disk
        self._states = states
        self._segment_bytes = segment_bytes
        self._entropy = entropy
        self._report: list[str] = []
        self._unusable: list[str] = []
        try:
            self.state, segments = self._find(disk.names())
        except OSError as error:
            raise _failed(error) from error
        self.snapshot_index = self.state.index
        self.log = StoredLog(disk, segments, self.snapshot_index, self.state.history_id)

    def open(self) -> Recovered[S]:
        """Check what was not read of the log, and open it. The state stays as the caller has left it: of the records
        that it does not have, `Recovered.log.entries` gives the batches. Raises as `recover_state`.
        """
        try:
            return self._begin() if self.log.empty else self._open()
        except OSError as error:
            raise _failed(error) from error

    def outlook(self) -> tuple[str, ...]:
        """The lines that `open` would give, without it."""
        end = self.log.end()
        torn = (
            f"{end.name}: a torn tail of {end.torn_bytes} bytes at offset {end.position}, behind index "
            f"{end.next_index - 1}, which a start cuts off"
        )
        return (*self._report, *([torn] if end.torn_bytes else []), f"index {end.next_index - 1}: {self._origin(end)}")

    def _open(self) -> Recovered[S]:
        end = self.log.end()
        self._remove_temporary()
        segment = self._write_anew(end)
        self._set_aside()
        self._say(logging.INFO, f"recovered index {end.next_index - 1}: {self._origin(end)}")
        return self._recovered(segment, end.next_index)

    def _begin(self) -> Recovered[S]:
        self._remove_temporary()
        history_id = self.state.history_id
        segment = write_segment(
            self._disk, FileHeader(LOG_MAGIC, history_id, 1, 0, self._salt()), b"", None, self._segment_bytes
        )
        self._say(logging.INFO, f"empty data directory: a new history {history_id.hex()} begins")
        return self._recovered(segment, 1)

    def _find(self, names: list[str]) -> tuple[S, list[int]]:
        """The newest snapshot's state, or the one before the first record; and the first indexes of the segments."""
        segments = log_indexes(names)
        snapshots = snapshot_indexes(names)
        if segments:
            return self._newest_state(snapshots, segments), segments
        if snapshots:
            raise StorageError(
                f"{snapshot_name(snapshots[-1])} exists, but no log segment: the log was removed. "
                "Restore the data directory whole"
            )
        return self._states.new(self._entropy(HISTORY_ID_BYTES)), segments

    def _newest_state(self, snapshots: list[int], segments: list[int]) -> S:
        for index in reversed(snapshots):
            try:
                return load_snapshot(self._disk, index, self._states)
            except CorruptionError as error:
                self._say(logging.ERROR, f"SNAPSHOT UNUSABLE, using the one before it and more log: {error}")
                self._unusable.append(snapshot_name(index))
        if segments[0] != 1:
            raise CorruptionError(
                f"{log_name(segments[0])}: the log begins with index {segments[0]}, and no usable snapshot reaches "
                f"that far. {ADVICE}"
            )
        if snapshots:
            self._say(logging.WARNING, "no usable snapshot; replaying the whole log")
        reader = SegmentReader(self._disk, log_name(1), 1)
        return self._states.new(reader.header.history_id)

    def _write_anew(self, reader: SegmentReader) -> Segment:
        if reader.torn_bytes:
            self._say(
                logging.WARNING,
                f"{reader.name}: torn tail cut off: {reader.torn_bytes} bytes at offset {reader.position}, behind "
                f"index {reader.next_index - 1}; a write that was never acknowledged",
            )
        body, chain = reader.body(), reader.chain
        if not reader.sealed:
            empty = LogEntry(reader.term, reader.next_index, 0, encode_records(()))
            seal, chain = encode_batch(empty, synced=reader.next_index - 1, seed=reader.seed, chain=chain)
            body += seal
        return write_segment(self._disk, reader.header, body, chain if body else None, self._segment_bytes)

    def _set_aside(self) -> None:
        """Under its name an unusable snapshot would count among those for whose sake others and the log are removed."""
        for name in self._unusable:
            self._disk.rename(name, damaged(name))
        if self._unusable:
            self._disk.sync_directory()

    def _remove_temporary(self) -> None:
        for name in filter(is_temporary, self._disk.names()):
            self._disk.remove(name)

    def _recovered(self, segment: Segment, next_index: int) -> Recovered[S]:
        log = TxnLog(
            self._disk,
            segment,
            next_index,
            term=self.log.term,
            segment_bytes=self._segment_bytes,
            salt=self._salt,
        )
        return Recovered(self.state, next_index, log, tuple(self._report), self.snapshot_index)

    def _origin(self, end: SegmentReader) -> str:
        origin = snapshot_name(self.snapshot_index) if self.snapshot_index else "no snapshot"
        return f"{origin} and {end.next_index - 1 - self.snapshot_index} records of log"

    def _salt(self) -> bytes:
        return self._entropy(SALT_BYTES)

    def _say(self, level: int, line: str) -> None:
        self._report.append(line)
        _log.log(level, "%s", line)


def _failed(error: OSError) -> StorageError:
    return StorageError(f"the disk failed during recovery: {error.strerror or error}")
