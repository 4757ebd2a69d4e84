"""Hostile bytes to both codecs: only their own error, never more memory than the frame accounts for."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest
from fuzzing.bench import Bench
from fuzzing.targets import TARGETS, attempt, jute_request, native_frame, native_reply
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client
from coordserver.wire.jute.requests import DECODERS

BYTES_PER_BYTE = 40
"""What Python's objects cost at most where the wire's are smallest: an array of one in two bytes is a tuple."""

lengths = st.sampled_from([0, 1, 2, 7, 255, 65_536, 2**31 - 1, 2**32 - 1, 2**32 - 2, 2**31]).map(
    struct.Struct(">I").pack
)
words = st.sampled_from(
    [b"/", b"/a", b"\xff\xff\xff\xff", b"\x00", b"\x90", b"\xdc\xff\xff", b"\xdd", b"\x80", b"\xc4"]
)
bytes_ = st.lists(st.binary(max_size=24) | lengths | words, max_size=24).map(b"".join)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
@settings(deadline=None, max_examples=120)
@given(data=bytes_)
def test_only_the_codecs_own_error(target: Callable[[bytes], None], data: bytes) -> None:
    attempt(target, data)


def peak_of(target: Callable[[bytes], None], data: bytes) -> int:
    """The most memory that it held at once."""
    tracemalloc.start()
    try:
        attempt(target, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("target", [jute_request, native_frame, native_reply], ids=lambda target: target.__name__)
@settings(deadline=None, max_examples=60)
@given(data=bytes_, times=st.sampled_from([1, 20, 300]))
def test_memory_is_bounded_by_the_frame(target: Callable[[bytes], None], data: bytes, times: int) -> None:
    assert peak_of(target, data * times) <= 200_000 + BYTES_PER_BYTE * len(data) * times


@pytest.mark.parametrize("op", sorted(DECODERS))
@pytest.mark.parametrize("count", [2**31 - 1, -2, -(2**31), 1_000_000])
def test_counts_and_lengths_that_are_lies(op: int, count: int) -> None:
    which = bytes([sorted(DECODERS).index(op)])
    lie = struct.pack(">i", count)
    for body in (lie, struct.pack(">i", 1) + b"/" + lie, struct.pack(">i", 1) + b"/" + struct.pack(">i", 0) + lie):
        assert peak_of(jute_request, which + body + bytes(1_000)) <= 200_000


def test_the_densest_records_cost_what_is_said() -> None:
    multi = bytes([sorted(DECODERS).index(int(Op.MULTI))])
    delete = struct.pack(">ibiii", int(Op.DELETE), 0, -1, 0, 12_345)
    read = struct.pack(">ibiib", int(Op.GET_DATA), 0, -1, 0, 0)
    multi_read = bytes([sorted(DECODERS).index(int(Op.MULTI_READ))])
    end = struct.pack(">ibi", -1, 1, -1)
    for data in (multi + delete * 30_000 + end, multi_read + read * 30_000 + end):
        assert peak_of(jute_request, data) <= 200_000 + BYTES_PER_BYTE * len(data)
    for data in (b"\x91\x90" * 200_000, b"\x90" * 200_000, b"\xa2ab" * 100_000, b"\xcd\xff\xff" * 100_000):
        array = b"\xdd" + (16_000).to_bytes(4, "big") + data
        assert peak_of(native_frame, array) <= 200_000 + BYTES_PER_BYTE * len(array)


def test_garbage_of_one_does_not_reach_another() -> None:
    bench = Bench()
    good = bench.jute()
    good.say(client.connect_request(timeout_ms=10_000))
    asking = client.request(1, Op.EXISTS, ("/", False))
    expected = good.say(asking)
    for hostile in (b"\x00\x00\x00\x08" + b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00" * 64):
        bad = bench.jute()
        bad.say(client.connect_request(timeout_ms=10_000))
        bad.say(hostile)
        assert good.say(asking)[16:] == expected[16:]
