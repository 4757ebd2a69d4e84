"""What only announces is refused before it costs anything; what the protocol says passes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.errors import WireError
from coordserver.wire.native import nesting
from coordserver.wire.native.packing import (
    MAX_REPLY_ARRAY,
    MAX_REQUEST_ELEMENTS,
    Unpacking,
    leading_int,
    pack,
    unpack,
    unpack_prefix,
)

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary() | st.floats()
rows = st.tuples(st.integers(0, 9), st.lists(scalars, max_size=6), st.binary(max_size=300))


def depth(levels: int) -> bytes:
    """So many arrays inside each other, each with 16 elements."""
    value: tuple[object, ...] = (None,) * 16
    for _ in range(levels - 1):
        value = (value, *(None,) * 15)
    return pack((value, *((None,) * 16 for _ in range(nesting.HARMLESS_ARRAYS))))


@settings(deadline=None, max_examples=100)
@given(st.lists(rows, min_size=1, max_size=4))
def test_what_can_be_said_passes(some: list[tuple[object, ...]]) -> None:
    data = pack([(some, (None,) * 16)] * 17)
    if len(data) <= nesting.HARMLESS_BYTES:
        return
    assert data.count(0xDC) > nesting.HARMLESS_ARRAYS, "was not looked at"
    nesting.check(data, MAX_REQUEST_ELEMENTS)


def test_depth() -> None:
    nesting.check(depth(nesting.DEPTH - 1), MAX_REQUEST_ELEMENTS)
    with pytest.raises(WireError, match="deep"):
        nesting.check(depth(nesting.DEPTH), MAX_REQUEST_ELEMENTS)


def test_elements_are_counted() -> None:
    data = pack([(1,) * 16] * 20)
    nesting.check(data, 20 * 17)
    with pytest.raises(WireError):
        nesting.check(data, 20 * 17 - 1)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(sorted({0x90, 0x9F, 0xC1, 0xC4, 0xC6, 0xC7, 0xD9, 0xDC, 0xDD, 0xDE, 0x00, 0xFF}))))
def test_garbage_raises_only_wire_error(seed: list[int]) -> None:
    data = bytes(seed) + b"\xdc\x00\x10" * 100
    try:
        nesting.check(data, MAX_REQUEST_ELEMENTS)
    except WireError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\xdc\x40\x00" * 1_000,
        b"\xdd\x00\x00\x3f\xff" * 1_000,
        b"\xdc\x00\x50" * 85,
        b"\x92\xdd\xff\xff\xff\xff",
        b"\x92\xdf\xff\xff\xff\xff",
        b"\x92\xc6\xff\xff\xff\xff",
        b"\x92" + b"\x9f" * 2_000,
        b"\x9f" + b"\x80" * 15,
        b"\xdc\x40\x00" + b"\x80" * 16_384,
    ],
    ids=["nested", "nested32", "short", "array", "map", "bytes", "deep", "few maps", "maps"],
)
def test_announcing_costs_nothing(data: bytes) -> None:
    for decode in (
        unpack,
        Unpacking(1 << 20).unpack,
        lambda raw: unpack(raw, MAX_REPLY_ARRAY),
        lambda raw: unpack_prefix(raw, 4_096),
        leading_int,
    ):
        tracemalloc.start()
        try:
            decode(data)
        except WireError:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 300_000 + 20 * len(data)
