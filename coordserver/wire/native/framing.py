"""Frames of the native protocol: a uint32 length, big-endian, then that many bytes.

The buffer gives out complete frames of whatever was read so far. An oversized frame is told once, as soon as its first
bytes show whose request it is, and then skipped without being held.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size
_length_at = _LENGTH.unpack_from
_SHORT = 16_384
_PEEK = 16
"""Bytes of an oversized frame that are looked at to find its number: array header and a 64-bit int fit."""


def frame(body: bytes) -> bytes:
    """`body` with its length before it."""
    return _LENGTH.pack(len(body)) + body


class Oversized(NamedTuple):
    """A frame over the limit: its length and its first bytes. The rest is skipped."""

    length: int
    head: bytes


class FrameBuffer:
    """Bytes in, frames out. Holds at most one frame of `limit` bytes and what one read brought besides.

    What is held is bytes while it is short, since a frame is cut out of bytes in one copy, and a bytearray while a long
    frame is coming in, which grows without being copied.
    """

    __slots__ = ("_buffer", "_offset", "_skip", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer: bytes | bytearray = b""
        self._offset = 0
        self._skip = 0

    def __len__(self) -> int:
        """Bytes held and not given out."""
        return len(self._buffer) - self._offset

    def feed(self, data: bytes) -> None:
        """Take what a read brought."""
        if self._skip:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        buffer, start = self._buffer, self._offset
        held = len(buffer) - start
        self._offset = 0
        if not held:
            self._buffer = data
        elif held <= _SHORT:
            self._buffer = bytes(buffer[start:]) + data
        else:
            if not isinstance(buffer, bytearray):
                self._buffer = buffer = bytearray(buffer)
            del buffer[:start]
            buffer += data

    def only(self, data: bytes) -> bytes | None:
        """The body of the frame that `data` is, where it is exactly one and nothing is held: most reads bring that."""
        if (
            len(data) >= 4
            and _length_at(data)[0] == len(data) - 4 <= self.limit
            and self._offset == len(self._buffer)
            and not self._skip
        ):
            return data[4:]
        return None

    def next(self) -> bytes | Oversized | None:
        """The next frame's body, or None until more was fed."""
        buffer, start = self._buffer, self._offset
        body = start + 4
        held = len(buffer) - body
        if held < 0:
            return None
        (length,) = _length_at(buffer, start)
        if length > self.limit:
            return self._oversized(length, held)
        if held < length:
            return None
        self._offset = end = body + length
        found = buffer[body:end]
        return found if type(found) is bytes else bytes(found)

    def _oversized(self, length: int, held: int) -> Oversized | None:
        if held < min(_PEEK, length):
            return None
        body = self._offset + 4
        head = bytes(self._buffer[body : body + _PEEK])
        taken = min(held, length)
        self._offset = body + taken
        self._skip = length - taken
        return Oversized(length, head)
