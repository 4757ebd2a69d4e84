"""One file of the log: written anew as a whole, appended to, read back.

A segment gets its name only when its header (and what it was made with) is on the disk. So a named segment with a
bad header is damage, never a crash; and a named segment proves that the one before it was complete.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple, TypeVar, cast

import attrs

from coordserver.core.model.operations import OPERATIONS, Kind
from coordserver.core.model.records import Record
from coordserver.storage.batch_format import (
    BATCH_HEADER_BYTES,
    FIRST_TERM,
    BatchHeader,
    decode_batch_header,
    find_batch_headers,
    payload_is_whole,
)
from coordserver.storage.disk import Disk, DiskFile
from coordserver.storage.errors import CorruptionError, DiskSpaceError, NewerFormatError
from coordserver.storage.file_header import HEADER_BYTES, LOG_MAGIC, FileHeader, decode_header, encode_header
from coordserver.storage.layout import log_name, temporary
from coordserver.storage.record_format import decode_rows

T = TypeVar("T")

_operation = itemgetter(Record._fields.index("op"))
_ZEROS = bytes(65536)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOGGED = frozenset(op for op, row in OPERATIONS.items() if row.kind is not Kind.READ)
ADVICE = "Nothing was changed. Restore the data directory from a backup, or copy it from a healthy disk"


@attrs.define
class Segment:
    """The segment being appended to, with `size` bytes reserved.

    `chain` is what the next batch carries, `seed` starts its checksums, `position` is where it goes, and `written`
    where the part of the file ends that was written to at all.
    """

    name: str
    file: DiskFile
    header: FileHeader
    seed: int
    position: int
    written: int
    chain: int
    size: int


def write_segment(disk: Disk, header: FileHeader, body: bytes, chain: int | None, segment_bytes: int) -> Segment:
    """Make a segment (replacing one of the same first index) that holds `body`; durable on return.

    `chain` is that of the last batch in `body`; None if it is empty. Raises DiskSpaceError if there is no room,
    with nothing changed, and OSError, after which the name stands for the old file or the new one.
    """
    segment = prepare_segment(disk, header, body, chain, segment_bytes)
    publish_segment(disk, segment)
    return segment


def prepare_segment(disk: Disk, header: FileHeader, body: bytes, chain: int | None, segment_bytes: int) -> Segment:
    """`write_segment` up to the name: the file is durable under its temporary name. Raises as `write_segment`."""
    name = log_name(header.index)
    start = encode_header(header)
    _, seed = decode_header(name, start, LOG_MAGIC)
    end = len(start) + len(body)
    size = max(segment_bytes, end)
    try:
        file = _write_temporary(disk, temporary(name), start + body, size)
    except OSError as error:
        with suppress(OSError):
            disk.remove(temporary(name))
        if error.errno in _NO_ROOM:
            raise DiskSpaceError(f"{name}: no room for a log segment of {size} bytes") from error
        raise
    return Segment(name, file, header, seed, end, end, seed if chain is None else chain, size)


def publish_segment(disk: Disk, segment: Segment) -> None:
    """Give a prepared segment its name; durable on return. Raises OSError."""
    try:
        disk.rename(temporary(segment.name), segment.name)
        disk.sync_directory()
    except OSError:
        segment.file.close()
        raise


def _write_temporary(disk: Disk, name: str, data: bytes, size: int) -> DiskFile:
    file = disk.create(name, size)
    try:
        file.write_at(0, data)
        file.sync()
    except OSError:
        file.close()
        raise
    return file


class Batch(NamedTuple):
    """A batch that was read whole. What it says are records are plain tuples of the same fields in the same order:
    whoever applies one takes it apart by position.
    """

    first_index: int
    records: tuple[Record, ...]


class SegmentReader:
    """Reads a segment from its start up to where the log ends, or says why it cannot be trusted.

    After `batches` is exhausted, `position`, `chain` and `next_index` tell where to go on, and `torn_bytes` how
    much behind that is neither a batch nor zeros: what a crash left of an append that was never acknowledged.
    `term` is that of the last batch that was read.
    """

    def __init__(self, disk: Disk, name: str, first_index: int) -> None:
        """Raises CorruptionError or NewerFormatError if the header will not do, OSError from the disk."""
        self.name = name
        self.size = disk.size(name)
        # A checksum may end in a zero byte, so that even the header can reach beyond where the data ends.
        self.data = disk.read(name, 0, max(HEADER_BYTES, disk.data_end(name)))
        self.header, self.seed = decode_header(name, self.data, LOG_MAGIC)
        if self.header.index != first_index:
            raise CorruptionError(f"{name}: its header says that it begins with index {self.header.index}")
        self.position = HEADER_BYTES
        self.chain = self.seed
        self.next_index = first_index
        self.term = FIRST_TERM
        self.torn_bytes = 0
        self.sealed = True
        self._used = _used_bytes(self.data)

    def body(self) -> bytes:
        """The bytes of all batches read so far."""
        return self.data[HEADER_BYTES : self.position]

    def batches(self) -> Iterator[Batch]:
        """Each batch in order. Raises CorruptionError or NewerFormatError, naming file, offset and index."""
        return self._read(self._decode)

    def pass_to(self, index: int) -> bool:
        """Read batches, without their records, up to the one that begins with `index`; whether one ends there. Raises
        as `batches`.
        """
        batches = self._read(lambda header, _: header)
        while self.next_index < index and next(batches, None) is not None:
            pass
        return self.next_index == index

    def _read(self, decode: Callable[[BatchHeader, memoryview], T]) -> Iterator[T]:
        """What `decode` makes of each batch, up to where the log ends."""
        seed, used = self.seed, self._used
        while (position := self.position) < used:
            start = position + BATCH_HEADER_BYTES
            if start > len(self.data):
                self._extend(start)
            header = decode_batch_header(self.data, position, seed)
            if header is None:
                self._end("no whole batch header")
                return
            self._check(header)
            start = position + header.size
            end = start + header.length
            if end > len(self.data):
                self._extend(end)
            payload = memoryview(self.data)[start:end]
            if not payload_is_whole(header, payload, seed):
                self._end("the payload's checksum is wrong")
                return
            batch = decode(header, payload)
            self.position = end
            self.chain = header.crc
            self.next_index += header.records
            self.term = header.term
            self.sealed = header.records == 0
            yield batch

    def _extend(self, end: int) -> None:
        """Append the zeros up to `end` that the file has but `data` has not: a batch may end in zeros."""
        self.data += bytes(max(0, min(end, self.size) - len(self.data)))

    def _check(self, header: BatchHeader) -> None:
        """The checksum was right: anything unexpected now is no torn write."""
        if header.newer:
            raise NewerFormatError(
                f"{self.name}: at offset {self.position}, index {self.next_index}: batch format {header.version} with "
                f"record format {header.record_version} is newer than this server; start the newer server on it"
            )
        if header.first_index != self.next_index or header.chain != self.chain:
            raise CorruptionError(
                f"{self.name}: at offset {self.position}: a batch from index {header.first_index} where index "
                f"{self.next_index} belongs (chain {header.chain:08x}, expected {self.chain:08x}); a batch is missing "
                f"or was exchanged. {ADVICE}"
            )
        if header.term < self.term or header.synced >= header.first_index:
            raise CorruptionError(
                f"{self.name}: at offset {self.position}, index {self.next_index}: a batch of term {header.term}, "
                f"synced up to {header.synced}, behind one of term {self.term}. {ADVICE}"
            )

    def _decode(self, header: BatchHeader, payload: memoryview) -> Batch:
        try:
            records = decode_rows(payload)
        except ValueError as error:
            raise CorruptionError(
                f"{self.name}: at offset {self.position}, index {self.next_index}: right checksum, but "
                f"{error}. {ADVICE}"
            ) from error
        if len(records) != header.records:
            raise CorruptionError(
                f"{self.name}: at offset {self.position}, index {self.next_index}: "
                f"{len(records)} records, the header says {header.records}. {ADVICE}"
            )
        unknown = sorted(set(map(_operation, records)) - _LOGGED)
        if unknown:
            raise NewerFormatError(
                f"{self.name}: at offset {self.position}, index {self.next_index}: records of operations {unknown}, "
                f"which this server does not know; start the newer server on it"
            )
        return Batch(header.first_index, cast("tuple[Record, ...]", records))

    def _end(self, reason: str) -> None:
        """No batch is whole at `position`: a torn tail, unless a later batch proves that this place was synced."""
        for offset, header in find_batch_headers(self.data, self.position + 1, self.seed):
            if header.newer:
                raise NewerFormatError(
                    f"{self.name}: at offset {self.position}, index {self.next_index}: {reason}, and a batch of "
                    f"format {header.version} follows, which is newer than this server; start the newer server on it"
                )
            if header.proves_synced(self.next_index):
                raise CorruptionError(
                    f"{self.name}: corrupt at offset {self.position}, index {self.next_index}: {reason}, yet a whole "
                    f"batch (from index {header.first_index}) follows at offset {offset}, so acknowledged writes are "
                    f"damaged. {ADVICE}"
                )
        self.torn_bytes = self._used - self.position


def _used_bytes(data: bytes) -> int:
    """The length of `data` without the zeros that it ends in (comparing blocks: a segment is mostly zeros)."""
    end = len(data)
    block = len(_ZEROS)
    while end >= block and data[end - block : end] == _ZEROS:
        end -= block
    start = max(0, end - block)
    return start + len(data[start:end].rstrip(b"\0"))
