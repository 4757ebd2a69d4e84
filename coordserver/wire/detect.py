"""What a connection speaks, told by its first byte and confirmed by the first four."""

from __future__ import annotations

from enum import Enum


class WireProtocol(Enum):
    """What may come through the one port."""

    NATIVE = "native"
    JUTE = "jute"
    TLS = "tls"
    FOUR_LETTER = "four-letter word"
    HTTP = "http"
    UNKNOWN = "unknown"


SNIFF_BYTES = 4
TLS_HANDSHAKE = 0x16
"""The type of a TLS record that begins a connection (RFC 8446, §5.1)."""

HTTP_STARTS = (b"GET ", b"HEAD", b"POST")
CONNECT_BYTES_MAX = 65_536
"""The longest first frame of ZooKeeper's protocol: what is longer is no ConnectRequest."""


def detect(head: bytes | bytearray) -> WireProtocol | None:
    """Tell from the first bytes; None if more are needed. PRI (HTTP/2) and PROXY are unknown here, on purpose."""
    if not head:
        return None
    first = head[0]
    if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        return _native(head)
    if first == 0:
        return _jute(head)
    if first == TLS_HANDSHAKE:
        return WireProtocol.TLS
    if len(head) < SNIFF_BYTES:
        plausible = head.isalpha() or (head[:3].isalpha() and head[:3].isupper())
        return None if plausible else WireProtocol.UNKNOWN
    word = head[:SNIFF_BYTES]
    if word.isalpha() and word.islower():
        return WireProtocol.FOUR_LETTER
    if word in HTTP_STARTS:
        return WireProtocol.HTTP
    return WireProtocol.UNKNOWN


def _jute(head: bytes | bytearray) -> WireProtocol | None:
    """The length of a ConnectRequest: its high bytes are zero."""
    if len(head) < SNIFF_BYTES:
        return None
    return WireProtocol.JUTE if int.from_bytes(head[:SNIFF_BYTES], "big") <= CONNECT_BYTES_MAX else WireProtocol.UNKNOWN


def _native(head: bytes | bytearray) -> WireProtocol | None:
    """An array whose first element is the five-letter string "coord"."""
    start = {0xDC: 3, 0xDD: 5}.get(head[0], 1)
    want = b"\xa5coord"
    seen = head[start : start + len(want)]
    if not want.startswith(seen):
        return WireProtocol.UNKNOWN
    return WireProtocol.NATIVE if len(head) >= SNIFF_BYTES else None
