"""msgpack, behind types. The only module of this package that imports it.

Whatever a peer sends, only WireError escapes. Arrays are bounded before they are made: msgpack allocates an array of
the announced length before it has seen the elements, so that a few bytes could otherwise claim a lot of memory. No
array is longer than its bytes, none deeper than the protocol's (nesting.py), and there are no maps in frames, of which
an empty one takes one byte here and 64 there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

import msgpack

from coordserver.core.model.errors import WireError
from coordserver.wire.native import nesting
from coordserver.wire.native.nesting import ARRAY_16, ARRAY_32

MAX_REQUEST_ARRAY = 16_384
"""Elements in any array of a request: operations of a multi, entries of an ACL."""

MAX_REPLY_ARRAY = 16_777_216
"""Elements in any array of a reply: children of a znode."""

MAX_REQUEST_ELEMENTS = 16 * MAX_REQUEST_ARRAY
"""Elements in all arrays of a request together, where they are counted."""

_MAX_MAP = 256
_READ_BYTES = 65_536
_MAX_HANDSHAKE_ARRAY = 64
_FAULTS = (ValueError, TypeError, OverflowError, RecursionError, msgpack.exceptions.UnpackException)

_packer = msgpack.Packer(use_bin_type=True)
pack = cast("Callable[[Any], bytes]", _packer.pack)
"""Encode None, bool, int (64 bits), str, bytes, and lists, tuples and dicts of them. OverflowError for a larger int."""


def _no_maps(pairs: object) -> NoReturn:
    raise ValueError("a map")


def unpack(data: bytes, max_array: int = MAX_REQUEST_ARRAY) -> Any:
    """The one value that `data` holds, arrays as tuples. Raises WireError for anything else."""
    nesting.check(data, max(max_array, MAX_REQUEST_ELEMENTS))
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            object_pairs_hook=_no_maps,
            max_array_len=min(max_array, len(data)),
            max_map_len=0,
            max_ext_len=0,
        )
    except _FAULTS as error:
        raise WireError(f"not one msgpack value: {error}") from None


class Unpacking:
    """`unpack` many times over, in a third of the time: for one thread, by one server.

    What a value leaves behind would be taken for the beginning of the next, so after a fault it begins anew. Its limit
    of an array is the same for all; so a frame in which there may be one of more than 15 elements goes the other way.
    """

    def __init__(self, max_bytes: int, max_array: int = MAX_REQUEST_ARRAY) -> None:
        self._max_bytes = max_bytes
        self._max_array = max_array
        self._begin()

    def _begin(self) -> None:
        self._unpacker = msgpack.Unpacker(
            read_size=min(_READ_BYTES, self._max_bytes),
            raw=False,
            use_list=False,
            object_pairs_hook=_no_maps,
            max_buffer_size=self._max_bytes,
            max_array_len=self._max_array,
            max_map_len=0,
            max_ext_len=0,
        )
        self._fed = 0

    def unpack(self, data: bytes) -> Any:
        """The one value that `data` holds, arrays as tuples. Raises WireError for anything else."""
        if ARRAY_16 in data or ARRAY_32 in data:
            return unpack(data, self._max_array)
        unpacker = self._unpacker
        try:
            unpacker.feed(data)
            value = unpacker.unpack()
        except _FAULTS as error:
            self._begin()
            raise WireError(f"not one msgpack value: {error or type(error).__name__}") from None
        self._fed += len(data)
        if unpacker.tell() != self._fed:
            self._begin()
            raise WireError("not one msgpack value: something follows")
        return value


def unpack_prefix(data: bytes | bytearray | memoryview, max_bytes: int) -> tuple[Any, int] | None:
    """The first value in `data` and the bytes it took; None if it is not complete yet.

    Raises WireError if it is not msgpack, or not complete within `max_bytes`.
    """
    unpacker = msgpack.Unpacker(
        raw=False,
        use_list=False,
        strict_map_key=True,
        max_buffer_size=max_bytes,
        max_array_len=_MAX_HANDSHAKE_ARRAY,
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
    """The first element of the array that begins `data`, if it can be seen and is an int: the number of a bad frame.

    Read by hand: of a frame that is no good nothing is to be made but this.
    """
    head = bytes(data[:16])
    start = _array_header_bytes(head)
    if start is None or start >= len(head):
        return None
    first = head[start]
    if first < 0x80:
        return first
    if first >= 0xE0:
        return first - 0x100
    width = _INT_BYTES.get(first)
    value = head[start + 1 : start + 1 + width] if width else b""
    if not width or len(value) < width:
        return None
    return int.from_bytes(value, "big", signed=first >= 0xD0)


_INT_BYTES = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


def _array_header_bytes(head: bytes) -> int | None:
    """How long the header of a non-empty array is; None if there is none."""
    if not head:
        return None
    if 0x91 <= head[0] <= 0x9F:
        return 1
    width = {0xDC: 2, 0xDD: 4}.get(head[0], 0)
    return 1 + width if width and any(head[1 : 1 + width]) else None
