"""msgpack behind types: what goes in comes out; garbage raises WireError and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.errors import WireError
from coordserver.wire.native.packing import leading_int, pack, unpack, unpack_prefix

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=20)


@settings(deadline=None)
@given(values)
def test_round_trip(value: object) -> None:
    assert unpack(pack(value)) == value


@settings(deadline=None)
@given(values, st.data())
def test_truncation_raises_only_wire_error(value: object, data: st.DataObject) -> None:
    whole = pack(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WireError):
        unpack(whole[:cut])


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=200))
def test_garbage_raises_only_wire_error(data: bytes) -> None:
    for decode in (unpack, lambda raw: unpack_prefix(raw, 64), leading_int):
        try:
            decode(data)
        except WireError:
            pass


def test_an_array_larger_than_its_bytes_is_refused() -> None:
    with pytest.raises(WireError):
        unpack(b"\xdd\x7f\xff\xff\xff" * 100)
    with pytest.raises(WireError):
        unpack(b"\xdd\x00\x01\x00\x00" + b"\xc0" * 65_536)


@pytest.mark.parametrize("data", [b"\xc1", b"\xc7\xff\xff", b"\xd6\xff\x00\x00\x00\x00", b"\x81\x90\x90", b"\xa1\xff"])
def test_what_the_protocol_has_no_use_for_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        unpack(data)


def test_prefix_waits_for_more_but_not_for_ever() -> None:
    whole = pack(("coord", 1, "x" * 100))
    assert unpack_prefix(whole[:50], 4096) is None
    assert unpack_prefix(whole + b"rest", 4096) == (("coord", 1, "x" * 100), len(whole))
    with pytest.raises(WireError):
        unpack_prefix(whole, 50)


def test_the_number_of_a_broken_frame_is_found() -> None:
    assert leading_int(pack((77, "anything", b"x" * 100))) == 77
    assert leading_int(pack((2**62, 1))) == 2**62
    assert leading_int(b"\xdd\x7f\xff\xff\xff\x05") == 5
    assert leading_int(b"") is None
    assert leading_int(pack("text")) is None
    assert leading_int(pack((True,))) is None
