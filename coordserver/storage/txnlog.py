"""The transaction log, open: written by one thread, read by any.

An append is one durable write; when it returns, its records are on the disk. It blocks, so it belongs in
a thread of its own: every method is to be called from one thread at a time, and the server has one for just this. Only
`entries` and the figures may be asked for from any thread.
The file is preallocated, so that an append changes no metadata and has only data to wait for.

After a failed write or sync nobody knows what the disk holds, and a later fsync that succeeds proves nothing (the
kernel may have dropped the pages). So the log is then broken for good: each further append raises, and the server
must stop and recover. Running out of room for another segment is not that: nothing was written, and the append may
be repeated.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import attrs

from coordserver.core.model.records import Record
from coordserver.storage.append import PreparedAppend, first_fitting, prepare_append
from coordserver.storage.batch_format import BATCH_HEADER_BYTES, FIRST_TERM, LogEntry
from coordserver.storage.disk import Disk
from coordserver.storage.entries import ENTRIES_BYTES, DurableEnd, EntryReader
from coordserver.storage.errors import StorageError
from coordserver.storage.file_header import HEADER_BYTES, LOG_MAGIC, SALT_BYTES, FileHeader
from coordserver.storage.layout import log_indexes, log_name
from coordserver.storage.record_format import encode_records
from coordserver.storage.segment import Segment, write_segment
from coordserver.storage.truncation import prepare_cut

_log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 1024 * 1024
SLOW_SYNC_S = 1.0


@attrs.frozen
class LogStatistics:
    """Counted since the log was opened. Times in seconds. A batch without records is a seal."""

    next_index: int
    segment: str
    position: int
    batches: int
    records: int
    batches_of_records: int
    batch_records_min: int
    batch_records_max: int
    bytes_written: int
    syncs_slow: int
    sync_s_last: float
    sync_s_min: float
    sync_s_max: float
    sync_s_total: float


class TxnLog:
    """The open log. Made by recovery. `slow_sync_s`: a sync that takes longer is worth a line (ZooKeeper's
    fsync.warningthresholdms). `on_roll`: called by the appending thread when another segment was taken from the disk;
    must not raise.
    """

    def __init__(
        self,
        disk: Disk,
        segment: Segment,
        next_index: int,
        *,
        term: int = FIRST_TERM,
        segment_bytes: int = SEGMENT_BYTES,
        salt: Callable[[], bytes] = lambda: os.urandom(SALT_BYTES),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`term`: of the last record, as far as the log says."""
        self._disk = disk
        self._segment = segment
        self._next_index = next_index
        self._cuts = 0
        self._reader = EntryReader(disk, self._durable_end)
        self._term = term
        self._segment_bytes = segment_bytes
        self._salt = salt
        self._clock = clock
        self._broken = ""
        self._sealed = True  # recovery leaves it so
        self._batches = self._records = self._bytes = self._syncs_slow = 0
        self._sync_s_last = self._sync_s_min = self._sync_s_max = self._sync_s_total = 0.0
        self._batches_of_records = self._batch_records_min = self._batch_records_max = 0
        self.slow_sync_s = SLOW_SYNC_S
        self.on_roll: Callable[[], None] = lambda: None

    @property
    def next_index(self) -> int:
        """The index that the next record gets."""
        return self._next_index

    @property
    def term(self) -> int:
        """The term of the last record; 1 where the log has none, for snapshots carry no term yet."""
        return self._term

    @property
    def sealed(self) -> bool:
        """Whether an empty batch is behind the last one, or nothing was appended since the log was opened."""
        return self._sealed

    @property
    def segment_left(self) -> int:
        """Bytes that the segment at the end can still take. May be called from any thread."""
        return self._segment.size - self._segment.position

    def append(self, records: Sequence[Record], first_index: int, term: int | None = None) -> int:
        """Make the records durable under the indexes from `first_index` on; the number of bytes written.

        `term` is that of the record before by default. An empty batch is allowed: see `seal`. Raises StorageError when
        the disk fails (now or before), DiskSpaceError when there is no room for another segment, ValueError on a wrong
        index or a term below that of the record before.
        """
        return self.append_encoded(encode_records(records), len(records), first_index, term)

    def append_encoded(self, payload: bytes, count: int, first_index: int, term: int | None = None) -> int:
        """`append` of `count` records that are encoded already."""
        return self._append((LogEntry(self._term if term is None else term, first_index, count, payload),))

    def append_entries(self, entries: Sequence[LogEntry]) -> int:
        """`append` of batches of another log, none empty: those that fit into one segment are one write and one sync.

        Should a crash meet that write, all of them count as a torn tail from the first that is not whole. Where this
        raises DiskSpaceError, those in the segments before are durable, as `next_index` says.
        """
        if not all(entry.records for entry in entries):
            raise ValueError("an empty batch among entries")
        written = 0
        remaining = list(entries)
        while remaining:
            fitting = first_fitting(remaining, self.segment_left)
            written += self._append(remaining[:fitting])
            del remaining[:fitting]
        return written

    def _append(self, entries: Sequence[LogEntry]) -> int:
        prepared = self.prepare_entries(entries)
        if prepared is None:
            self._roll(sum(BATCH_HEADER_BYTES + len(entry.payload) for entry in entries))
            prepared = self.prepare_entries(entries)
            assert prepared is not None
        started = self._clock()
        try:
            self._segment.file.write_durably(prepared.position, prepared.data)
        except OSError as error:
            raise self.failed(error) from error
        self.finish(prepared, self._clock() - started)
        return prepared.batch_bytes

    def prepare(self, payload: bytes, count: int, first_index: int, term: int | None = None) -> PreparedAppend | None:
        """What is to be written where, for whoever writes it himself and then calls `finish`, or `failed`; None where
        another segment must be begun for it, which `append_encoded` does. Nothing is changed. Raises as `append`."""
        return self.prepare_entries((LogEntry(self._term if term is None else term, first_index, count, payload),))

    def prepare_entries(self, entries: Sequence[LogEntry]) -> PreparedAppend | None:
        """`prepare` of batches for one write."""
        if self._broken:
            raise StorageError(self._broken)
        return prepare_append(self._segment, entries, self._next_index, self._term)

    def finish(self, prepared: PreparedAppend, seconds: float) -> None:
        """It is on the disk, and took so long. Raises StorageError where the file is no longer part of the directory:
        what was written to it is lost with it, and must not be acknowledged."""
        if not self._broken:
            self._require_whole()
        if self._broken:
            raise StorageError(self._broken)
        segment = self._segment
        segment.position += prepared.batch_bytes
        segment.chain = prepared.crc
        segment.written = prepared.written
        self._next_index += prepared.records
        self._term = prepared.term
        self._sealed = not prepared.records
        if prepared.records:
            least = self._batch_records_min
            self._batch_records_min = min(least, prepared.records) if self._batches_of_records else prepared.records
            self._batch_records_max = max(self._batch_records_max, prepared.records)
            self._batches_of_records += 1
        self._sync_s_min = min(self._sync_s_min, seconds) if self._batches else seconds
        self._batches += prepared.batches
        self._records += prepared.records
        self._bytes += prepared.batch_bytes
        self._sync_s_last = seconds
        self._sync_s_max = max(self._sync_s_max, seconds)
        self._sync_s_total += seconds
        if seconds >= self.slow_sync_s:
            self._syncs_slow += 1
            _log.warning("sync of %s took %.1f s; writes waited that long", segment.name, seconds)

    def failed(self, error: OSError) -> StorageError:
        """Writing what was prepared has failed: the log is broken for good. What is to be raised."""
        segment = self._segment
        self._broken = (
            f"{segment.name}: cannot write index {self._next_index} at offset {segment.position}: "
            f"{error.strerror or error}; what the disk holds from there on is unknown"
        )
        return StorageError(self._broken)

    def check(self) -> None:
        """Look whether the directory, its lock and the open segment are still in their places.

        Raises StorageError where they are not: the log is then broken for good, as after a failed write. One thread
        calls this and `append_encoded`; another may call `finish` meanwhile.
        """
        if not self._broken:
            self._require_whole()
        if not self._broken:
            try:
                if not self._disk.gives(self._segment.name, self._segment.file):
                    self._break("its name in the data directory no longer leads to it")
                else:
                    self._disk.keep_lock()
            except OSError as error:
                self._break(error.strerror or str(error))
        if self._broken:
            raise StorageError(self._broken)

    def is_whole(self) -> bool:
        """Whether the open segment is where a start looks for it. Any thread may ask; nothing changes."""
        segment = self._segment
        try:
            whole = segment.file.status().bytes >= segment.size and self._disk.gives(segment.name, segment.file)
        except OSError:
            return False
        return whole and not self._broken

    def _require_whole(self) -> None:
        """The part of `check` that costs a microsecond, so that it can stand before each acknowledgement."""
        segment = self._segment
        try:
            status = segment.file.status()
        except OSError as error:
            self._break(error.strerror or str(error))
            return
        if not status.links:
            self._break("it was removed or replaced")
        elif status.bytes < segment.size:
            self._break(f"it was cut to {status.bytes} of {segment.size} bytes")

    def _break(self, why: str) -> None:
        self._broken = (
            f"{self._segment.name}: {why} while the server ran; nothing behind index {self._next_index - 1} is "
            "acknowledged, and what the data directory holds is unknown"
        )

    def seal(self) -> int:
        """Write an empty batch behind the last one, unless there is one; the number of bytes written.

        While nothing follows a batch, damage to it looks like a write that a crash cut short, and recovery drops
        it. What follows proves that it was whole. Called when the log falls idle and at a stop. Raises as `append`.
        """
        return 0 if self._sealed else self.append((), self._next_index)

    def entries(self, first: int, last: int, max_bytes: int = ENTRIES_BYTES) -> list[LogEntry]:
        """`EntryReader.entries`: whole batches from the one that holds `first` on. May be called from any thread."""
        return self._reader.entries(first, last, max_bytes)

    def truncate(self, first_index: int) -> None:
        """Cut off every record from `first_index` on, where a batch begins; durable on return.

        The records may be synced; the caller knows that they are not committed, and has no append in flight. A crash
        meanwhile leaves the log as it was, as it is to be, or ending between two segments behind the cut. Raises
        TruncationError (no batch begins there, a snapshot has the record), DiskSpaceError where there is no room for
        the new segment, both with nothing changed; StorageError as `append`.
        """
        if self._broken:
            raise StorageError(self._broken)
        if first_index == self._next_index:
            return
        try:
            cut = prepare_cut(self._disk, self._reader, first_index, self._segment_bytes)
            # The end first: a reader that sees the new count of cuts must not see the old end.
            self._next_index, self._term = first_index, cut.term
            self._cuts += 1
            cut.carry_out(self._disk)
        except OSError as error:
            self._broken = f"cannot cut the log at index {first_index}: {error.strerror or error}"
            raise StorageError(self._broken) from error
        self._segment.file.close()
        self._segment = cut.last
        self._sealed = True

    def close(self) -> None:
        """Close the file. Everything appended is on the disk already."""
        self._segment.file.close()

    def statistics(self) -> LogStatistics:
        """What the log has done. May be called from any thread; the fields may then be of different instants."""
        return LogStatistics(
            next_index=self._next_index,
            segment=self._segment.name,
            position=self._segment.position,
            batches=self._batches,
            records=self._records,
            batches_of_records=self._batches_of_records,
            batch_records_min=self._batch_records_min,
            batch_records_max=self._batch_records_max,
            bytes_written=self._bytes,
            syncs_slow=self._syncs_slow,
            sync_s_last=self._sync_s_last,
            sync_s_min=self._sync_s_min,
            sync_s_max=self._sync_s_max,
            sync_s_total=self._sync_s_total,
        )

    def _durable_end(self) -> DurableEnd:
        cuts = self._cuts
        return DurableEnd(self._next_index, cuts)

    def _roll(self, batch_bytes: int) -> None:
        """Begin a segment that can take a batch of that size. One that holds no record is replaced by it."""
        self.check()
        old = self._segment
        chain = old.chain if old.header.index < self._next_index else old.header.chain
        header = FileHeader(LOG_MAGIC, old.header.history_id, self._next_index, chain, self._salt())
        try:
            size = max(self._segment_bytes, HEADER_BYTES + batch_bytes)
            self._segment = write_segment(self._disk, header, b"", None, size)
        except OSError as error:
            name = log_name(self._next_index)
            self._broken = f"{name}: cannot begin another log segment: {error.strerror or error}"
            raise StorageError(self._broken) from error
        old.file.close()
        self.on_roll()


def purge_log(disk: Disk, keep_from: int) -> list[str]:
    """Remove segments that hold only records below `keep_from`; their names. The newest segment always stays.

    Looks at the directory alone, so any thread may call it while the log is written. Raises OSError.
    """
    starts = log_indexes(disk.names())
    doomed = [log_name(start) for start, following in pairwise(starts) if following <= keep_from]
    for name in doomed:
        disk.remove(name)
    if doomed:
        disk.sync_directory()
    return doomed
