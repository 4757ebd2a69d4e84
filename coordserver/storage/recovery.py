"""From what lies on the disk to a running state and an open log.

The state is the newest snapshot that can be trusted, plus every record behind it. What a crash may leave, and what
it means:

- Temporary files: removed.
- A torn tail, that is bytes behind the last whole batch of the last segment, and no whole batch header behind them:
  the rest of an append that nobody was told of. It is cut off, with one line that says so.
- A bad batch with a whole batch header behind it, or in a segment that has a successor: it was synced once, so it
  may have been acknowledged, and it is damaged now. The start is refused, saying where; nothing is changed.
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

from coordserver.core.machine import Machine
from coordserver.storage.batch_format import encode_batch
from coordserver.storage.disk import Disk
from coordserver.storage.errors import CorruptionError, StorageError
from coordserver.storage.file_header import LOG_MAGIC, SALT_BYTES, FileHeader
from coordserver.storage.layout import damaged, is_temporary, log_indexes, log_name, snapshot_indexes, snapshot_name
from coordserver.storage.record_format import encode_records
from coordserver.storage.segment import ADVICE, Segment, SegmentReader, write_segment
from coordserver.storage.snapshots import load_snapshot
from coordserver.storage.state import State
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

    Nothing on the disk is changed before it is sure that the start succeeds, temporary files apart. `entropy` gives
    a new history its id and each segment its salt. Raises StorageError (CorruptionError, NewerFormatError,
    DiskSpaceError).
    """
    try:
        return _Recovery(disk, states, segment_bytes, entropy).run()
    except OSError as error:
        raise StorageError(f"the disk failed during recovery: {error.strerror or error}") from error


def read_state(disk: Disk, states: type[S]) -> tuple[S, tuple[str, ...]]:
    """What `recover_state` would start with, and its lines. Nothing is changed, not even temporary files are removed.

    Raises StorageError as it does, and where there is neither log nor snapshot.
    """
    try:
        return _Recovery(disk, states, SEGMENT_BYTES, os.urandom).read()
    except OSError as error:
        raise StorageError(f"the disk failed: {error.strerror or error}") from error


def recover(disk: Disk, *, segment_bytes: int = SEGMENT_BYTES) -> Recovered[Machine]:
    """`recover_state` of the server's state machine."""
    return recover_state(disk, Machine, segment_bytes=segment_bytes)


class _Recovery(Generic[S]):
    def __init__(self, disk: Disk, states: type[S], segment_bytes: int, entropy: Callable[[int], bytes]) -> None:
        self._disk = disk
        self._states = states
        self._segment_bytes = segment_bytes
        self._entropy = entropy
        self._report: list[str] = []
        self._unusable: list[str] = []

    def run(self) -> Recovered[S]:
        names = self._disk.names()
        for name in filter(is_temporary, names):
            self._disk.remove(name)
        found = self._find(names)
        if found is None:
            return self._begin()
        state, reader, base = found
        segment = self._write_anew(reader)
        self._set_aside()
        self._say(logging.INFO, f"recovered index {state.index}: {_origin(state, base)}")
        return self._recovered(state, segment, base)

    def read(self) -> tuple[S, tuple[str, ...]]:
        """The state alone; the disk stays as it is."""
        found = self._find(self._disk.names())
        if found is None:
            raise StorageError("there is neither a log segment nor a snapshot")
        state, reader, base = found
        if reader.torn_bytes:
            self._report.append(
                f"{reader.name}: a torn tail of {reader.torn_bytes} bytes at offset {reader.position}, behind index "
                f"{reader.next_index - 1}, which a start cuts off"
            )
        self._report.append(f"index {state.index}: {_origin(state, base)}")
        return state, tuple(self._report)

    def _find(self, names: list[str]) -> tuple[S, SegmentReader, int] | None:
        """The state, the reader at the log's end, and the index of the snapshot it was built on (0: none); None where
        there is nothing yet.
        """
        segments = log_indexes(names)
        snapshots = snapshot_indexes(names)
        if not segments:
            if snapshots:
                raise StorageError(
                    f"{snapshot_name(snapshots[-1])} exists, but no log segment: the log was removed. "
                    "Restore the data directory whole"
                )
            return None
        state = self._newest_state(snapshots, segments)
        base = state.index
        return state, self._replay(state, segments), base

    def _begin(self) -> Recovered[S]:
        history_id = self._entropy(HISTORY_ID_BYTES)
        header = FileHeader(LOG_MAGIC, history_id, 1, 0, self._salt())
        segment = write_segment(self._disk, header, b"", None, self._segment_bytes)
        self._say(logging.INFO, f"empty data directory: a new history {history_id.hex()} begins")
        return self._recovered(self._states.new(history_id), segment, 0)

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

    def _replay(self, state: S, segments: list[int]) -> SegmentReader:
        """Apply all records behind the state; the reader of the last segment, which is at the log's end."""
        base = state.index
        needed = [start for start in segments if start > base + 1]
        covering = [start for start in segments if start <= base + 1]
        if not covering:
            raise CorruptionError(
                f"{log_name(segments[0])}: the log begins with index {segments[0]}, but the state ends at {base}: "
                f"a segment between is missing. {ADVICE}"
            )
        reader = self._reader(state, covering[-1])
        self._apply(state, reader)
        for start in needed:
            previous = reader
            reader = self._reader(state, start)
            self._check_succession(previous, reader)
            self._apply(state, reader)
        if reader.next_index <= base:
            raise CorruptionError(
                f"{reader.name}: the log ends at index {reader.next_index - 1}, but {snapshot_name(base)} was "
                f"written later; acknowledged writes may be missing. {ADVICE}"
            )
        return reader

    def _reader(self, state: S, start: int) -> SegmentReader:
        reader = SegmentReader(self._disk, log_name(start), start)
        if reader.header.history_id != state.history_id:
            raise CorruptionError(
                f"{reader.name}: belongs to history {reader.header.history_id.hex()}, the state to "
                f"{state.history_id.hex()}. {ADVICE}"
            )
        return reader

    def _apply(self, state: S, reader: SegmentReader) -> None:
        apply = state.apply
        for first_index, records in reader.batches():
            known = max(0, state.index + 1 - first_index)
            for index, record in enumerate(records[known:], first_index + known):
                apply(index, record)

    def _check_succession(self, previous: SegmentReader, reader: SegmentReader) -> None:
        """A segment is begun only behind a complete one, so that nothing may be torn or missing between two."""
        end = (previous.next_index, previous.chain, previous.torn_bytes)
        if end == (reader.header.index, reader.header.chain, 0):
            return
        raise CorruptionError(
            f"{previous.name}: corrupt at offset {previous.position}, index {previous.next_index}: it ends there, but "
            f"{reader.name} goes on from index {reader.header.index}, so acknowledged writes are damaged. {ADVICE}"
        )

    def _write_anew(self, reader: SegmentReader) -> Segment:
        if reader.torn_bytes:
            self._say(
                logging.WARNING,
                f"{reader.name}: torn tail cut off: {reader.torn_bytes} bytes at offset {reader.position}, behind "
                f"index {reader.next_index - 1}; a write that was never acknowledged",
            )
        body, chain = reader.body(), reader.chain
        if not reader.sealed:
            empty = encode_records(())
            seal, chain = encode_batch(reader.next_index, 0, empty, seed=reader.seed, chain=chain)
            body += seal
        return write_segment(self._disk, reader.header, body, chain if body else None, self._segment_bytes)

    def _set_aside(self) -> None:
        """Under its name an unusable snapshot would count among those for whose sake others and the log are removed."""
        for name in self._unusable:
            self._disk.rename(name, damaged(name))
        if self._unusable:
            self._disk.sync_directory()

    def _recovered(self, state: S, segment: Segment, base: int) -> Recovered[S]:
        log = TxnLog(self._disk, segment, state.index + 1, segment_bytes=self._segment_bytes, salt=self._salt)
        return Recovered(state, state.index + 1, log, tuple(self._report), base)

    def _salt(self) -> bytes:
        return self._entropy(SALT_BYTES)

    def _say(self, level: int, line: str) -> None:
        self._report.append(line)
        _log.log(level, "%s", line)


def _origin(state: State, base: int) -> str:
    origin = snapshot_name(base) if base else "no snapshot"
    return f"{origin} and {state.index - base} records of log"
