"""A batch: what one append writes, the unit of checksum and chain.

| offset | bytes | field |
| ---: | ---: | --- |
| 0 | 4 | magic: `BTCH` |
| 4 | 2 | batch format version, from 1 |
| 6 | 2 | record format version, from 1 |
| 8 | 8 | index of the first record (of the next one, in an empty batch) |
| 16 | 4 | number of records |
| 20 | 4 | length of the payload |
| 24 | 4 | chain: header checksum of the batch before, or of the segment's header in the first |
| 28 | 4 | CRC-32 of the payload, started from the checksum of the segment's header |
| 32 | 4 | CRC-32 of the 32 bytes before, likewise started |
| 36 | … | payload |

The header has a checksum of its own so that it can be trusted without its payload: a whole header beyond a bad
place proves that the bad place was once synced (a batch is begun only after the one before is on the disk), however
torn its own payload is. And a search for such headers stays linear, whatever the bytes between look like.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from coordserver.storage.record_format import RECORD_VERSION

BATCH_MAGIC = b"BTCH"
BATCH_VERSION = 1
BATCH_HEADER_BYTES = 36
_BODY = struct.Struct(">4sHHQIIII")
_CRC = struct.Struct(">I")


class BatchHeader(NamedTuple):
    """A header whose checksum was right."""

    version: int
    record_version: int
    first_index: int
    records: int
    length: int
    chain: int
    payload_crc: int
    crc: int

    @property
    def newer(self) -> bool:
        """Whether a later version of this software wrote it."""
        return self.version != BATCH_VERSION or self.record_version != RECORD_VERSION


def encode_batch(first_index: int, count: int, payload: bytes, *, seed: int, chain: int) -> tuple[bytes, int]:
    """The batch's bytes, and the chain for the next one. `seed` is the checksum of the segment's header."""
    payload_crc = crc32(payload, seed)
    body = _BODY.pack(BATCH_MAGIC, BATCH_VERSION, RECORD_VERSION, first_index, count, len(payload), chain, payload_crc)
    crc = crc32(body, seed)
    return b"".join((body, _CRC.pack(crc), payload)), crc


def decode_batch_header(data: bytes, offset: int, seed: int) -> BatchHeader | None:
    """The header at `offset`, or None if there is none with the right checksum."""
    end = offset + _BODY.size
    if end + _CRC.size > len(data):
        return None
    body = data[offset:end]
    (crc,) = _CRC.unpack_from(data, end)
    magic, *fields = _BODY.unpack(body)
    if magic != BATCH_MAGIC or crc32(body, seed) != crc:
        return None
    version, record_version, first_index, records, length, chain, payload_crc = fields
    return BatchHeader(version, record_version, first_index, records, length, chain, payload_crc, crc)


def payload_is_whole(header: BatchHeader, payload: memoryview, seed: int) -> bool:
    """Whether this is the payload that the header was written for."""
    return len(payload) == header.length and crc32(payload, seed) == header.payload_crc


def find_batch_header(data: bytes, start: int, seed: int) -> tuple[int, BatchHeader] | None:
    """The first whole batch header at or after `start`, and its offset."""
    offset = data.find(BATCH_MAGIC, start)
    while offset >= 0:
        header = decode_batch_header(data, offset, seed)
        if header is not None:
            return offset, header
        offset = data.find(BATCH_MAGIC, offset + 1)
    return None
