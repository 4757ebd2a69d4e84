"""Streams of Java's SnappyOutputStream, in which ZooKeeper writes snapshots where it is told to compress with snappy.

The magic bytes, a version and the least compatible version, four bytes each; then blocks, each its compressed length in
four bytes and a raw snappy block. The magic bytes in the place of a length begin a further stream. The module cramjam
decompresses blocks; it comes with the extra `snappy` and is imported only here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC = b"\x82SNAPPY\x00"
_HEADER = struct.Struct(">8sii")
_LENGTH = struct.Struct(">I")
_COMPATIBLE_VERSION = 1
_BLOCK_MOST = 0x2000_0000
"""The largest block that SnappyOutputStream can be told to write, of bytes before compression."""


def decompress(data: bytes) -> bytes:
    """The whole stream. Raises ValueError where it is not one or not whole, ModuleNotFoundError without cramjam."""
    return b"".join(_blocks(memoryview(data)))


def _blocks(data: memoryview) -> Iterator[bytes]:
    from cramjam import DecompressionError, snappy

    position = _after_header(data, 0)
    while position < len(data):
        if data[position : position + len(MAGIC)] == MAGIC:
            position = _after_header(data, position)
            continue
        start = position + _LENGTH.size
        if start > len(data):
            raise ValueError(f"the stream ends inside a length, at offset {position}")
        end = start + _LENGTH.unpack(data[position:start])[0]
        if end > len(data):
            raise ValueError(f"the stream ends inside a block, at offset {start}")
        block = bytes(data[start:end])
        try:
            size = snappy.decompress_raw_len(block)
            if size > _BLOCK_MOST:
                raise ValueError(f"a block of {size} bytes at offset {start}")
            yield bytes(snappy.decompress_raw(block))
        except DecompressionError as fault:
            raise ValueError(f"a damaged block at offset {start}: {fault}") from None
        position = end


def _after_header(data: memoryview, position: int) -> int:
    end = position + _HEADER.size
    if end > len(data):
        raise ValueError("the stream ends inside its header")
    magic, _, compatible = _HEADER.unpack(data[position:end])
    if magic != MAGIC or compatible > _COMPATIBLE_VERSION:
        raise ValueError(f"no snappy stream of version {_COMPATIBLE_VERSION}")
    return end
