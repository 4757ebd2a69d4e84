"""What a connection speaks is told from its first bytes, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordserver.wire.native_client import encode_hello
from coordserver.wire.packing import pack
from coordserver.wire.sniff import Speech, sniff

CASES = [
    (encode_hello(timeout_ms=1000), Speech.NATIVE),
    (b"\xdc\x00\x09" + pack("coord"), Speech.NATIVE),
    (b"\xdd\x00\x00\x00\x09" + pack("coord"), Speech.NATIVE),
    (b"ruok", Speech.FOUR_LETTER),
    (b"mntr\n", Speech.FOUR_LETTER),
    (b"GET /metrics HTTP/1.1\r\n", Speech.HTTP),
    (b"HEAD / HTTP/1.1\r\n", Speech.HTTP),
    (b"PRI * HTTP/2.0\r\n", Speech.UNKNOWN),
    (b"PROXY TCP4 1.2.3.4", Speech.UNKNOWN),
    (b"\x16\x03\x01\x02\x00", Speech.TLS),
    (b"\x00\x00\x00\x2d", Speech.JUTE),
    (b"\x00\x01\x00\x00", Speech.JUTE),
    (b"\x00\x01\x00\x01", Speech.UNKNOWN),
    (b"\x93\x01\x02\x03", Speech.UNKNOWN),
    (b"\r\n\r\n", Speech.UNKNOWN),
]


@pytest.mark.parametrize(("data", "want"), CASES)
def test_told_whole_and_byte_by_byte(data: bytes, want: Speech) -> None:
    assert sniff(data) is want
    told = [sniff(data[:n]) for n in range(len(data) + 1)]
    assert set(told) <= {None, want}, "a guess was taken back"


@given(st.binary(min_size=4, max_size=20))
def test_four_bytes_are_always_enough(data: bytes) -> None:
    assert sniff(data) is not None
