"""A snapshot: the rows of one state, in checksummed blocks, closed by a last block that says what the whole must be.

After the 64-byte file header, blocks follow:

| offset | bytes | field |
| ---: | ---: | --- |
| 0 | 4 | number of rows, 0 in the last block |
| 4 | 4 | length of the payload |
| 8 | 4 | CRC-32 of the payload |
| 12 | 4 | CRC-32 of the 12 bytes before |
| 16 | … | payload |

Both checksums start from the header checksum of the block before, in the first block from that of the file header,
so that a block missing or exchanged is noticed. The payload is that many msgpack arrays one after another, a row
each; what is in a row is the state machine's affair. The last block's payload is one array `[number of rows,
digest]`. The file ends there.

The digest is BLAKE2b, 16 bytes of it, over all payloads but the last: the bytes of the rows, one after another. They
are the same whatever blocks they were cut into, so that a reader can pack the rows of the state that it built and hold
their digest against this one. In version 1 of the format it was the state's own, a number.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

from coordserver.storage.packing import pack, packing, unpack, unpack_rows

BLOCK_BYTES = 256 * 1024
BLOCK_HEADER_BYTES = 16
_DIGEST_BYTES = 16
_DIGESTED_ROWS = 1_000
_BODY = struct.Struct(">III")
_CRC = struct.Struct(">I")


class BlockHeader(NamedTuple):
    """A block header whose checksum was right."""

    rows: int
    length: int
    payload_crc: int
    crc: int


class SnapshotEncoder:
    """Rows in, blocks out. Feed it in as many calls as suits the caller; then `rest`, and `last`."""

    def __init__(self, seed: int) -> None:
        """`seed` is the checksum of the file header."""
        self._seed = seed
        self._pending = bytearray()
        self._pending_rows = 0
        self._pack = packing()
        self.rows = 0

    def add(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
        """Take rows; yield each block that became full (to be consumed, or the rows are not taken)."""
        pack_row = self._pack
        for row in rows:
            self._pending += pack_row(row)
            self._pending_rows += 1
            if len(self._pending) >= BLOCK_BYTES:
                yield self._flush()

    def rest(self) -> bytes:
        """A block of the rows that fill none; empty if there are none."""
        return self._flush() if self._pending_rows else b""

    def last(self, digest: bytes | int) -> bytes:
        """The last block."""
        return self._block(0, pack((self.rows, digest)))

    def _flush(self) -> bytes:
        block = self._block(self._pending_rows, bytes(self._pending))
        self.rows += self._pending_rows
        self._pending.clear()
        self._pending_rows = 0
        return block

    def _block(self, rows: int, payload: bytes) -> bytes:
        body = _BODY.pack(rows, len(payload), crc32(payload, self._seed))
        self._seed = crc32(body, self._seed)
        return b"".join((body, _CRC.pack(self._seed), payload))


class RowsDigest:
    """The digest of rows, from the blocks that hold them."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def add(self, block: bytes) -> None:
        """Take the next block that an encoder gave. Long enough that other threads run meanwhile."""
        self._hash.update(memoryview(block)[BLOCK_HEADER_BYTES:])

    def value(self) -> bytes:
        """The digest of all taken so far."""
        return self._hash.digest()


def digest_of(rows: Iterable[tuple[Any, ...]]) -> bytes:
    """The digest that a snapshot of these rows ends with."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    pack_row, remaining = packing(), iter(rows)
    while some := b"".join(map(pack_row, islice(remaining, _DIGESTED_ROWS))):
        digest.update(some)
    return digest.digest()


def decode_block_header(data: bytes, seed: int) -> BlockHeader:
    """The header in 16 bytes. Raises ValueError."""
    if len(data) < BLOCK_HEADER_BYTES:
        raise ValueError("the file ends inside a block")
    body = data[: _BODY.size]
    (crc,) = _CRC.unpack_from(data, _BODY.size)
    if crc32(body, seed) != crc:
        raise ValueError("a block header's checksum is wrong")
    rows, length, payload_crc = _BODY.unpack(body)
    return BlockHeader(rows, length, payload_crc, crc)


def decode_rows(header: BlockHeader, payload: bytes, seed: int) -> tuple[tuple[Any, ...], ...]:
    """The rows of a block. Raises ValueError."""
    return unpack_rows(_checked(header, payload, seed), header.rows)


def decode_last(header: BlockHeader, payload: bytes, seed: int) -> tuple[int, bytes | int]:
    """Number of rows and digest, from the last block. Raises ValueError."""
    rows, digest = unpack(_checked(header, payload, seed))
    return rows, digest


def _checked(header: BlockHeader, payload: bytes, seed: int) -> bytes:
    if len(payload) != header.length:
        raise ValueError("the file ends inside a block")
    if crc32(payload, seed) != header.payload_crc:
        raise ValueError("a block's checksum is wrong")
    return payload
