"""The unpacker that is used again and again says what `unpack` says, whatever came before."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coordserver.core.model.errors import WireError
from coordserver.wire.native.packing import Unpacking, pack, unpack

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=9,
)
_frames = (
    st.binary(max_size=20)
    | _values.map(pack)
    | st.tuples(_values, _values).map(lambda two: pack(two[0]) + pack(two[1]))
)


def _outcome(decode: object, data: bytes) -> object:
    try:
        return decode(data)  # type: ignore[operator]
    except WireError:
        return WireError


@given(st.lists(_frames, max_size=12))
@example([b"\x80"])
def test_one_after_another_is_as_each_alone(frames: list[bytes]) -> None:
    unpacking = Unpacking(1_000)
    for data in frames:
        assert _outcome(unpacking.unpack, data) == _outcome(unpack, data)


def test_an_array_beyond_the_limit_is_refused_and_forgotten() -> None:
    unpacking = Unpacking(100_000, max_array=10)
    for data in (pack(tuple(range(11))), b"\xdd\xff\xff\xff\xff", pack("x") + pack("y"), b""):
        with pytest.raises(WireError):
            unpacking.unpack(data)
        assert unpacking.unpack(pack((1, "good"))) == (1, "good")
