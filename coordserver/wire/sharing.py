"""Encoding once what many hear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Encode = Callable[[int, Sequence[tuple[int, str]]], bytes]


class SharedEvents:
    """Encodes events once for all who hear the same: the watch manager gives each of them the very same tuple."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._events: Sequence[tuple[int, str]] = ()
        self._zxid = 0
        self._encoded = b""

    def encode(self, zxid: int, events: Sequence[tuple[int, str]]) -> bytes:
        """The frames of these events."""
        if events is not self._events or zxid != self._zxid:
            self._events, self._zxid = events, zxid
            self._encoded = self._encode(zxid, events)
        return self._encoded
