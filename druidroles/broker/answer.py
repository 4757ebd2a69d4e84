"""How far a Broker follows one data server's answer: how long it waits for bytes, and how much it keeps of them.

A server that hangs leaves the tree, and a query has a deadline. Between the two are servers that answer too slowly, too
much, or bytes that unpack to too much: their answer is given up in time to ask a replica.

Objects take far more memory than their JSON: `{"a":1},` is eight bytes and a dictionary. What an answer will take is
estimated from its brackets and commas before it is decoded.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import attrs

ENCODINGS = "gzip"
_STEP = 1 << 16  # bytes unpacked at a time
_RATIO_FROM = 1 << 20  # unpacked bytes; small answers may be of one letter
_OBJECT_BYTES = 200
_VALUE_BYTES = 60


class AnswerStalledError(Exception):
    """Too few bytes came for the time that was waited."""


class AnswerTooBigError(Exception):
    """The answer takes more memory than it may."""


@attrs.frozen(kw_only=True)
class AnswerLimits:
    """`memory` bounds the estimate for one answer, in bytes; `stall_s` how long its body may send nothing, or less than
    `bytes_s` a second; `ratio` how many bytes one byte may unpack to.
    """

    memory: int = 512 << 20
    stall_s: float = 15.0
    bytes_s: int = 8192
    ratio: int = 512


class AnswerBody:
    """The accounts of one body. Does no I/O: told what came and how long it was waited for."""

    def __init__(self, limits: AnswerLimits, encoding: str) -> None:
        """Raises ValueError for an encoding that was not asked for."""
        if encoding not in ("", "identity", "gzip"):
            raise ValueError(f"Content-Encoding {encoding!r} was not asked for")
        self._limits = limits
        self._gzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        self._waited_s = 0.0
        self._came = 0
        self._unpacked = 0
        self._memory = 0

    @property
    def patience_s(self) -> float:
        """How long to wait for the next bytes. What came quickly may be followed by a pause."""
        return max(0.0, self._limits.stall_s + self._came / self._limits.bytes_s - self._waited_s)

    def waited(self, seconds: float) -> None:
        """So long nothing came."""
        self._waited_s += seconds

    def stalled(self) -> AnswerStalledError:
        """What to raise when the patience is over."""
        return AnswerStalledError(f"its answer stalls: {self._came} bytes in {self._waited_s:.0f} s")

    def take(self, data: bytes) -> Iterator[bytes]:
        """What came, unpacked in bounded steps. Raises AnswerTooBigError; ValueError for what cannot be unpacked."""
        self._came += len(data)
        if self._gzip is None:
            yield self._counted(data)
            return
        try:
            whole = True  # the last step gave all that it may, so there may be more
            while (data or whole) and not self._gzip.eof:
                unpacked = self._gzip.decompress(data, _STEP)
                whole = len(unpacked) == _STEP
                data = self._gzip.unconsumed_tail
                yield self._counted(unpacked)
        except zlib.error as fault:
            raise ValueError(f"its gzip is damaged: {fault}") from None

    def end(self) -> None:
        """Nothing more comes. Raises ValueError where something is missing."""
        if self._gzip is not None and not self._gzip.eof:
            raise ValueError("its gzip is cut short")

    def _counted(self, data: bytes) -> bytes:
        self._unpacked += len(data)
        self._memory += len(data) + _OBJECT_BYTES * data.count(b"{") + _VALUE_BYTES * data.count(b",")
        if self._memory > self._limits.memory:
            raise AnswerTooBigError(f"the answer of one server takes more than {self._limits.memory} bytes of memory")
        if self._unpacked > _RATIO_FROM and self._unpacked > self._came * self._limits.ratio:
            raise ValueError(f"its gzip unpacks to more than {self._limits.ratio} times its size")
        return data
