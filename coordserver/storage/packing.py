"""msgpack, typed: the only module of storage that imports it.

Arrays come back as tuples. Strings pass through unchanged even where they are not valid Unicode: what may be stored is
decided before the log, and nothing that got there may stop the server.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, cast

import msgpack

_ARRAY = struct.Struct(">BI")
_ARRAY_32 = 0xDD


def pack(value: Any) -> bytes:
    """msgpack bytes of None, bool, int (-2^63 … 2^64-1), str, bytes, and tuples and lists of them.

    Raises ValueError, OverflowError or TypeError for anything else.
    """
    packed: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogatepass")
    return packed


def packing() -> Callable[[Any], bytes]:
    """`pack` for many values one after another, in half the time: for one thread at a time."""
    packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass")
    return cast("Callable[[Any], bytes]", packer.pack)


def unpack(data: bytes | memoryview) -> Any:
    """The one value that `data` holds. Raises ValueError if it is not exactly one."""
    try:
        return msgpack.unpackb(data, use_list=False, raw=False, unicode_errors="surrogatepass", strict_map_key=False)
    except (msgpack.UnpackException, ValueError, TypeError) as error:
        raise ValueError(f"not msgpack: {error}") from error


def unpack_rows(data: bytes, count: int) -> tuple[Any, ...]:
    """The `count` values that `data` holds one after another. Raises ValueError where it holds more, fewer or none."""
    rows: tuple[Any, ...] = unpack(_ARRAY.pack(_ARRAY_32, count) + data)
    return rows
