"""jute's primitives: big-endian ints, strings and buffers with their length before them, vectors with their count.

A reader takes the bytes and an offset and gives the value and the next offset; where bytes are missing or a length
makes no sense it raises RecordError, which costs the request (MARSHALLINGERROR), not the connection. Nothing is
allocated that the frame does not hold. Tolerances are ZooKeeper's: invalid UTF-8 becomes U+FFFD, a negative count is an
empty vector.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TypeVar

from coordserver.core.model.errors import WireError

T = TypeVar("T")

INT = struct.Struct(">i")
LONG = struct.Struct(">q")
NULL = INT.pack(-1)

_pack_int = INT.pack
_int_at = INT.unpack_from
_long_at = LONG.unpack_from


class RecordError(WireError):
    """A record is cut short or has an impossible length."""


def read_int(body: bytes, at: int) -> tuple[int, int]:
    """A signed 32-bit int."""
    try:
        return _int_at(body, at)[0], at + 4
    except struct.error:
        raise RecordError(f"int missing at {at}") from None


def read_long(body: bytes, at: int) -> tuple[int, int]:
    """A signed 64-bit int."""
    try:
        return _long_at(body, at)[0], at + 8
    except struct.error:
        raise RecordError(f"long missing at {at}") from None


def read_bool(body: bytes, at: int) -> tuple[bool, int]:
    """One byte; everything but 0 is true."""
    if at >= len(body):
        raise RecordError(f"boolean missing at {at}")
    return body[at] != 0, at + 1


def read_buffer(body: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes, or None where the length is -1."""
    try:
        (size,) = _int_at(body, at)
    except struct.error:
        raise RecordError(f"length missing at {at}") from None
    start = at + 4
    end = start + size
    if size < 0:
        if size == -1:
            return None, start
    elif end <= len(body):
        return body[start:end], end
    raise RecordError(f"length {size} at {at} is not in the record")


def read_ustring(body: bytes, at: int) -> tuple[str | None, int]:
    """A string, or None where the length is -1."""
    data, end = read_buffer(body, at)
    if data is None:
        return None, end
    try:
        return data.decode(), end
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace"), end


def read_vector(body: bytes, at: int, read: Callable[[bytes, int], tuple[T, int]]) -> tuple[list[T], int]:
    """Items until the count is reached; null and negative counts are empty, as in Java's reader."""
    count, at = read_int(body, at)
    items: list[T] = []
    for _ in range(count):
        item, at = read(body, at)
        items.append(item)
    return items, at


def buffer(value: bytes | None) -> bytes:
    """A buffer with its length."""
    return NULL if value is None else _pack_int(len(value)) + value


def ustring(value: str | None) -> bytes:
    """A string with its length in bytes."""
    if value is None:
        return NULL
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = value.encode("utf-8", "surrogatepass")
    return _pack_int(len(data)) + data


def vector(items: Iterable[bytes]) -> bytes:
    """Encoded items with their count."""
    encoded = list(items)
    return INT.pack(len(encoded)) + b"".join(encoded)
