"""A batch: what one append writes, the unit of checksum and chain.

| offset | bytes | field |
| ---: | ---: | --- |
| 0 | 4 | magic: `BTCH` |
| 4 | 2 | batch format version |
| 6 | 2 | record format version |
| 8 | 8 | index of the first record (of the next one, in an empty batch) |
| 16 | 4 | number of records |
| 20 | 4 | length of the payload |
| 24 | 4 | chain: last header checksum of the batch before, or that of the segment's header in the first |
| 28 | 4 | CRC-32 of the payload, started from the checksum of the segment's header |
| 32 | 4 | CRC-32 of the 32 bytes before, likewise started |
| 36 | 8 | from version 2: term |
| 44 | 8 | from version 2: synced up to, the index of the last record that was synced before this batch was written |
| 52 | 4 | from version 2: CRC-32 of the 16 bytes before, started from the checksum at 32 |
| 56 | … | payload; at 36 in version 1 |

The first 36 bytes keep their form in every version, so that an older server refuses a later version by name instead of
taking it for a torn write. A batch of version 1 has term 1, and was written when everything before it was synced.

The header has checksums of its own, so that it can be trusted without its payload. A whole header beyond a bad place
then proves how far the log had been synced, and a search for such headers takes linear time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from coordserver.storage.record_format import RECORD_VERSION

BATCH_MAGIC = b"BTCH"
BATCH_VERSION = 2
FIRST_TERM = 1
"""The term of a new log, and of every batch of version 1."""

_BODY = struct.Struct(">4sHHQIIII")
_CRC = struct.Struct(">I")
_BASE = struct.Struct(">4sHHQIIIII")
_EXTENSION_BODY = struct.Struct(">QQ")
_HEADER = struct.Struct(">4sHHQIIIIIQQI")
_BASE_BYTES = _BASE.size
BATCH_HEADER_BYTES = _HEADER.size
"""Length of the longest header: that of the version which is written."""
_CRC_BYTES = _CRC.size
_new = tuple.__new__


class LogEntry(NamedTuple):
    """A batch without its frame, as it goes from one log to another: `payload` holds that many encoded records."""

    term: int
    first_index: int
    records: int
    payload: bytes

    @property
    def next_index(self) -> int:
        """The index behind the last record."""
        return self.first_index + self.records


class BatchHeader(NamedTuple):
    """A header whose checksums were right, in the order of its bytes. The next batch carries `crc` as its chain."""

    magic: bytes
    version: int
    record_version: int
    first_index: int
    records: int
    length: int
    chain: int
    payload_crc: int
    base_crc: int
    term: int
    synced: int
    crc: int

    @property
    def size(self) -> int:
        """The header's own length."""
        return BATCH_HEADER_BYTES if self.version == BATCH_VERSION else _BASE_BYTES

    @property
    def newer(self) -> bool:
        """Whether a later version of this software wrote it."""
        return not 0 < self.version <= BATCH_VERSION or self.record_version != RECORD_VERSION

    def proves_synced(self, index: int) -> bool:
        """Whether this batch, found behind a bad place where `index` belongs, proves that the place was synced once.

        A batch that says that every record before it was synced proves it of empty batches too, which have no index
        of their own: the log writes nothing behind an empty batch before that is synced.
        """
        return self.synced >= min(index, self.first_index - 1)


def encode_batch(entry: LogEntry, *, synced: int, seed: int, chain: int) -> tuple[bytes, int]:
    """The batch's bytes, and the chain for the next one. `seed` is the checksum of the segment's header."""
    term, first_index, records, payload = entry
    payload_crc = crc32(payload, seed)
    body = _BODY.pack(
        BATCH_MAGIC, BATCH_VERSION, RECORD_VERSION, first_index, records, len(payload), chain, payload_crc
    )
    body_crc = crc32(body, seed)
    extension = _EXTENSION_BODY.pack(term, synced)
    crc = crc32(extension, body_crc)
    return b"".join((body, _CRC.pack(body_crc), extension, _CRC.pack(crc), payload)), crc


def decode_batch_header(data: bytes, offset: int, seed: int) -> BatchHeader | None:
    """The header at `offset`, or None if there is none with the right checksums."""
    base_end = offset + _BASE_BYTES
    if base_end > len(data):
        return None
    base_crc = crc32(data[offset : base_end - _CRC_BYTES], seed)
    end = offset + BATCH_HEADER_BYTES
    if end <= len(data):
        header = _HEADER.unpack_from(data, offset)
        if header[0] != BATCH_MAGIC or header[8] != base_crc:
            return None
        if header[1] == BATCH_VERSION:
            whole = crc32(data[base_end : end - _CRC_BYTES], base_crc) == header[11]
            return _new(BatchHeader, header) if whole else None
    base = _BASE.unpack_from(data, offset)
    if base[0] != BATCH_MAGIC or base[8] != base_crc or base[1] == BATCH_VERSION:
        return None
    return _new(BatchHeader, (*base, FIRST_TERM, base[3] - 1, base_crc))


def payload_is_whole(header: BatchHeader, payload: bytes | memoryview, seed: int) -> bool:
    """Whether this is the payload that the header was written for."""
    return len(payload) == header.length and crc32(payload, seed) == header.payload_crc


def find_batch_headers(data: bytes, start: int, seed: int) -> Iterator[tuple[int, BatchHeader]]:
    """Every whole batch header at or after `start`, with its offset."""
    offset = data.find(BATCH_MAGIC, start)
    while offset >= 0:
        header = decode_batch_header(data, offset, seed)
        if header is not None:
            yield offset, header
        offset = data.find(BATCH_MAGIC, offset + 1)
