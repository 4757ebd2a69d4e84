"""msgpack, behind types. The only module of this package that imports it.

Whatever a peer sends, only WireError escapes. Arrays are bounded before they are made: msgpack allocates an array of
the announced length before it has seen the elements, so that a few bytes could otherwise claim a lot of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgpack

from coordserver.core.errors import WireError

MAX_REQUEST_ARRAY = 16_384
"""Elements in any array of a request: operations of a multi, entries of an ACL."""

MAX_REPLY_ARRAY = 16_777_216
"""Elements in any array of a reply: children of a znode."""

_MAX_MAP = 256
_FAULTS = (ValueError, TypeError, OverflowError, RecursionError, msgpack.exceptions.UnpackException)

_packer = msgpack.Packer(use_bin_type=True)
pack = cast("Callable[[Any], bytes]", _packer.pack)
"""Encode None, bool, int (64 bits), str, bytes, and lists, tuples and dicts of them. OverflowError for a larger int."""


def unpack(data: bytes | bytearray | memoryview, max_array: int = MAX_REQUEST_ARRAY) -> Any:
    """The one value that `data` holds, arrays as tuples. Raises WireError for anything else."""
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            strict_map_key=True,
            max_array_len=max_array,
            max_map_len=_MAX_MAP,
            max_ext_len=0,
        )
    except _FAULTS as error:
        raise WireError(f"not one msgpack value: {error}") from None


def unpack_prefix(data: bytes | bytearray | memoryview, max_bytes: int) -> tuple[Any, int] | None:
    """The first value in `data` and the bytes it took; None if it is not complete yet.

    Raises WireError if it is not msgpack, or not complete within `max_bytes`.
    """
    unpacker = msgpack.Unpacker(
        raw=False,
        use_list=False,
        strict_map_key=True,
        max_buffer_size=max_bytes,
        max_array_len=min(max_bytes, MAX_REQUEST_ARRAY),
        max_map_len=_MAX_MAP,
        max_ext_len=0,
    )
    try:
        unpacker.feed(data[:max_bytes])
        value = unpacker.unpack()
    except msgpack.exceptions.OutOfData:
        if len(data) >= max_bytes:
            raise WireError(f"no complete value within {max_bytes} bytes") from None
        return None
    except _FAULTS as error:
        raise WireError(f"not msgpack: {error}") from None
    return value, unpacker.tell()


def leading_int(data: bytes | bytearray | memoryview) -> int | None:
    """The first element of the array that begins `data`, if it can be seen and is an int: the number of a bad frame."""
    unpacker = msgpack.Unpacker(max_array_len=2**32 - 1, max_buffer_size=64)
    try:
        unpacker.feed(data[:16])
        if unpacker.read_array_header() < 1:
            return None
        value = unpacker.unpack()
    except (*_FAULTS, msgpack.exceptions.OutOfData):
        return None
    return value if type(value) is int else None
