"""What a connection speaks is told from its first bytes, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordserver.wire.detect import WireProtocol, detect
from coordserver.wire.native.client import encode_hello
from coordserver.wire.native.packing import pack

CASES = [
    (encode_hello(timeout_ms=1000), WireProtocol.NATIVE),
    (b"\xdc\x00\x09" + pack("coord"), WireProtocol.NATIVE),
    (b"\xdd\x00\x00\x00\x09" + pack("coord"), WireProtocol.NATIVE),
    (b"ruok", WireProtocol.FOUR_LETTER),
    (b"mntr\n", WireProtocol.FOUR_LETTER),
    (b"GET /metrics HTTP/1.1\r\n", WireProtocol.HTTP),
    (b"HEAD / HTTP/1.1\r\n", WireProtocol.HTTP),
    (b"PRI * HTTP/2.0\r\n", WireProtocol.UNKNOWN),
    (b"PROXY TCP4 1.2.3.4", WireProtocol.UNKNOWN),
    (b"\x16\x03\x01\x02\x00", WireProtocol.TLS),
    (b"\x00\x00\x00\x2d", WireProtocol.JUTE),
    (b"\x00\x01\x00\x00", WireProtocol.JUTE),
    (b"\x00\x01\x00\x01", WireProtocol.UNKNOWN),
    (b"\x93\x01\x02\x03", WireProtocol.UNKNOWN),
    (b"\r\n\r\n", WireProtocol.UNKNOWN),
]


@pytest.mark.parametrize(("data", "want"), CASES)
def test_told_whole_and_byte_by_byte(data: bytes, want: WireProtocol) -> None:
    assert detect(data) is want
    told = [detect(data[:n]) for n in range(len(data) + 1)]
    assert set(told) <= {None, want}, "a guess was taken back"


@given(st.binary(min_size=4, max_size=20))
def test_four_bytes_are_always_enough(data: bytes) -> None:
    assert detect(data) is not None
