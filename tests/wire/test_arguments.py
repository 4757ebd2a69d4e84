"""The form of arguments: what fits passes in the engine's shape, what does not is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.acl import ACL
from coordserver.core.errors import MalformedError, UnimplementedError
from coordserver.core.operations import OPERATIONS, Kind, Op
from coordserver.wire.arguments import check_request

GOOD: dict[Op, tuple[Any, ...]] = {
    Op.CREATE: ("/a", b"x", None, 0, 0),
    Op.DELETE: ("/a", -1),
    Op.EXISTS: ("/a", True),
    Op.GET_DATA: ("/a", False),
    Op.SET_DATA: ("/a", None, 3),
    Op.GET_ACL: ("/a",),
    Op.SYNC: ("/a",),
    Op.PING: (),
    Op.GET_CHILDREN2: ("/a", False),
    Op.CHECK: ("/a", 0),
    Op.REMOVE_WATCHES: ("/a", 3),
    Op.GET_EPHEMERALS: ("/a",),
    Op.GET_ALL_CHILDREN_NUMBER: ("/a",),
    Op.ADD_WATCH: ("/a", 1, -1),
    Op.WHO_AM_I: (),
    Op.CLOSE_SESSION: (),
}


@pytest.mark.parametrize(("op", "arguments"), GOOD.items())
def test_good_arguments_pass_and_extra_ones_are_ignored(op: Op, arguments: tuple[Any, ...]) -> None:
    assert check_request(op, arguments) == arguments
    assert check_request(op, arguments + ("later", 7)) == arguments


@pytest.mark.parametrize(("op", "arguments"), GOOD.items())
def test_each_missing_or_mistyped_argument_is_named(op: Op, arguments: tuple[Any, ...]) -> None:
    for at, name in enumerate(OPERATIONS[op].arguments):
        with pytest.raises(MalformedError, match=name):
            check_request(op, arguments[:at])
        with pytest.raises(MalformedError, match=name):
            check_request(op, arguments[:at] + (1.5,) + arguments[at + 1 :])


def test_acl_entries_become_acls() -> None:
    acl = ((31, "world", "anyone"), (1, "digest", "a:b", "later"))
    assert check_request(Op.SET_ACL, ("/a", acl, -1))[1] == (ACL(31, "world", "anyone"), ACL(1, "digest", "a:b"))
    for bad in ((31,), ("31", "world", "anyone"), (True, "world", "anyone"), (1, b"world", "anyone")):
        with pytest.raises(MalformedError, match="acl"):
            check_request(Op.SET_ACL, ("/a", (bad,), -1))


def test_operations_of_a_multi_become_pairs() -> None:
    flat = ((int(Op.CREATE), "/a", b"", None, 0, 0), (int(Op.CHECK), "/b", 2))
    assert check_request(Op.MULTI, (flat,)) == (
        ((int(Op.CREATE), ("/a", b"", None, 0, 0)), (int(Op.CHECK), ("/b", 2))),
    )
    for bad in ((int(Op.PING),), (int(Op.MULTI), ()), (), (True, "/a"), (int(Op.CHECK), "/b")):
        with pytest.raises(MalformedError):
            check_request(Op.MULTI, ((bad,),))


def test_internal_and_unknown_operations_are_unimplemented() -> None:
    internal = [op for op, row in OPERATIONS.items() if row.kind is Kind.INTERNAL]
    for op in (*internal, 9999, -5):
        with pytest.raises(UnimplementedError):
            check_request(op, ("/a",) * 6)


def test_ints_beyond_63_bits_are_refused() -> None:
    with pytest.raises(MalformedError, match="version"):
        check_request(Op.DELETE, ("/a", 2**63))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.sampled_from(list(OPERATIONS)) | st.integers(), st.lists(anything, max_size=6).map(tuple))
def test_any_arguments_give_an_answer(op: int, arguments: tuple[Any, ...]) -> None:
    try:
        checked = check_request(op, arguments)
    except (MalformedError, UnimplementedError):
        return
    assert len(checked) == len(OPERATIONS[op].arguments)
