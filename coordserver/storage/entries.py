"""Reads batches back from a log while it is written.

Only what is durable is read: what the writer has in flight may be torn, or may never reach the disk. The segments are
opened by name on each call, so the writer is not disturbed; each header, payload and chain is checked again.

A segment has no table of its batches, so the way to an index leads over the headers before it. Places passed on the way
are remembered, one every 64 KiB, and the next call begins at the nearest one.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple

from coordserver.storage.batch_format import BATCH_HEADER_BYTES, LogEntry, decode_batch_header, payload_is_whole
from coordserver.storage.disk import Disk, DiskReader
from coordserver.storage.errors import CorruptionError, LogEndsError, LogPurgedError, StorageError
from coordserver.storage.file_header import HEADER_BYTES, LOG_MAGIC, decode_header
from coordserver.storage.layout import log_indexes, log_name

ENTRIES_BYTES = 1024 * 1024
_MARK_BYTES = 64 * 1024
_WINDOW_BYTES = 64 * 1024
_SEGMENTS_MARKED = 16


class DurableEnd(NamedTuple):
    """Where the durable part of a log ends, and how often the log has been cut since it was opened."""

    next_index: int
    cuts: int


class _Mark(NamedTuple):
    """A place between two batches: the index and chain of the next batch, and where it begins."""

    next_index: int
    offset: int
    chain: int


class EntryReader:
    """Reads the entries of a log. `durable_end` is asked before and after each reading. Any thread may call."""

    def __init__(self, disk: Disk, durable_end: Callable[[], DurableEnd]) -> None:
        self._disk = disk
        self._durable_end = durable_end
        self._marks = _Marks()

    def entries(self, first: int, last: int, max_bytes: int = ENTRIES_BYTES) -> list[LogEntry]:
        """Whole batches, in order: the one that holds `first`, and those behind it up to the one that holds `last`.

        At least one is given; others only while all payloads together have at most `max_bytes`, and while they are
        durable. Empty batches are left out. Raises LogPurgedError, LogEndsError where `first` is not durable,
        ValueError where the range is empty, CorruptionError, and StorageError when the disk fails.
        """
        if not 1 <= first <= last:
            raise ValueError(f"entries from index {first} to {last}")
        while True:
            end = self._durable_end()
            try:
                found = self._read(first, last, max_bytes, end)
            except StorageError:
                if self._durable_end().cuts == end.cuts:
                    raise
            except OSError as error:
                if self._durable_end().cuts == end.cuts:
                    raise StorageError(f"cannot read the log: {error.strerror or error}") from error
            else:
                if self._durable_end().cuts == end.cuts:
                    return found

    def _read(self, first: int, last: int, max_bytes: int, end: DurableEnd) -> list[LogEntry]:
        if first >= end.next_index:
            raise LogEndsError(first, end.next_index - 1)
        stop = min(last + 1, end.next_index)
        starts = self._starts(first)
        covering = bisect_right(starts, first) - 1
        found: list[LogEntry] = []
        size = 0
        for start, following in pairwise([*starts[covering:], max(starts[-1], stop)]):
            if start >= stop:
                break
            try:
                file = self._disk.open(log_name(start))
            except FileNotFoundError as error:
                if found:  # purged meanwhile; the next call says so
                    break
                self._starts(first)
                raise CorruptionError(f"{log_name(start)} is missing") from error
            with closing(file), closing(self._batches(file, start, first, min(following, stop), end.cuts)) as batches:
                for entry in batches:
                    size += len(entry.payload)
                    if found and size > max_bytes:
                        return found
                    found.append(entry)
        return found

    def _starts(self, first: int) -> list[int]:
        """First indexes of the segments that there are now. Raises LogPurgedError where they begin behind `first`."""
        starts = log_indexes(self._disk.names())
        if not starts:
            raise CorruptionError("no log segment is left in the directory")
        if starts[0] > first:
            raise LogPurgedError(first, starts[0])
        return starts

    def _batches(self, file: DiskReader, start: int, first: int, stop: int, cuts: int) -> Generator[LogEntry]:
        """The batches of a segment that hold records from `first` on and begin before `stop`."""
        name = log_name(start)
        window = _Window(file)
        _, seed = decode_header(name, window.take(0, HEADER_BYTES), LOG_MAGIC)
        mark = self._marks.nearest(start, first, cuts) or _Mark(start, HEADER_BYTES, seed)
        while mark.next_index < stop:
            header = decode_batch_header(window.take(mark.offset, BATCH_HEADER_BYTES), 0, seed)
            if header is None or header.newer or (header.first_index, header.chain) != (mark.next_index, mark.chain):
                raise _corrupt(name, mark, "no whole header of the batch that belongs there")
            offset = mark.offset + header.size
            after = _Mark(header.first_index + header.records, offset + header.length, header.crc)
            if header.records and after.next_index > first:
                payload = window.take(offset, header.length)
                if not payload_is_whole(header, payload, seed):
                    raise _corrupt(name, mark, "the payload's checksum is wrong")
                yield LogEntry(header.term, header.first_index, header.records, payload)
            mark = after
            self._marks.add(start, mark, cuts)


def _corrupt(name: str, mark: _Mark, reason: str) -> CorruptionError:
    return CorruptionError(f"{name}: corrupt at offset {mark.offset}, index {mark.next_index}: {reason}")


class _Window:
    """Reads a file in pieces that are large beside small batches."""

    def __init__(self, file: DiskReader) -> None:
        self._file = file
        self._start = 0
        self._data = b""

    def take(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end of the file."""
        at = offset - self._start
        if at < 0 or at + length > len(self._data):
            self._start, at = offset, 0
            self._data = self._file.read(offset, max(length, _WINDOW_BYTES))
        return self._data[at : at + length]


class _Marks:
    """Places in the segments read last. A cut of the log makes all of them void."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: OrderedDict[int, list[_Mark]] = OrderedDict()
        self._cuts = 0

    def nearest(self, start: int, index: int, cuts: int) -> _Mark | None:
        """The last place in the segment from which reading comes to `index`."""
        with self._lock:
            if cuts != self._cuts:
                self._segments.clear()
                self._cuts = cuts
            marks = self._segments.get(start)
            if not marks:
                return None
            self._segments.move_to_end(start)
            at = bisect_right(marks, index, key=lambda mark: mark.next_index)
            return marks[at - 1] if at else None

    def add(self, start: int, mark: _Mark, cuts: int) -> None:
        """Remember a place, if the last one is far enough before it."""
        with self._lock:
            if cuts != self._cuts:
                return
            marks = self._segments.setdefault(start, [])
            if mark.offset - (marks[-1].offset if marks else 0) >= _MARK_BYTES:
                marks.append(mark)
            if len(self._segments) > _SEGMENTS_MARKED:
                self._segments.popitem(last=False)
