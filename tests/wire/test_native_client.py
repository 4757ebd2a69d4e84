"""The client's side of the native protocol: typed results, patience with later servers, refusal of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import Op
from coordserver.core.model.stat import Stat
from coordserver.wire.native.client import (
    Events,
    NativeDecoder,
    Reply,
    ServerHello,
    SessionEnd,
    decode_multi,
    decode_result,
    encode_hello,
    encode_request,
)
from coordserver.wire.native.connection import decode_hello
from coordserver.wire.native.framing import frame
from coordserver.wire.native.packing import pack, unpack

STAT = Stat(*range(11))
HELLO = ("coord", 1, ("x",), 0, 5, b"p" * 16, 4_000, {"frame_bytes": 9, "odd": "?"}, b"h" * 16, 70, 3, 2)
WELCOME = ServerHello(0, 5, b"p" * 16, 4_000, {"frame_bytes": 9}, b"h" * 16, 70, 3, 2, ("x",))

SCRIPT: list[tuple[Any, Any]] = [
    ((1, 7, 0), Reply(1, 7, 0, (), "")),
    ((2, 7, 0, b"data", tuple(STAT)), Reply(2, 7, 0, (b"data", tuple(STAT)), "")),
    ((3, 8, -101, "no"), Reply(3, 8, -101, (), "no")),
    ((4, 8, -101), Reply(4, 8, -101, (), "")),
    ((-1, 9, ((1, "/a"), (4, "/", "more"))), Events(9, ((1, "/a"), (4, "/")))),
    ((-2, 9, -1002, "no number"), Reply(-2, 9, -1002, (), "no number")),
    ((-1, 9, None, -112), SessionEnd(9, -112)),
]


def test_the_server_reads_the_clients_hello() -> None:
    data = encode_hello(session_id=5, password=b"p", timeout_ms=9, last_zxid=7, history_id=b"h", name="n")
    hello = decode_hello(unpack(data))
    assert hello[:6] == (5, b"p", 9, 7, b"h", "n")


def test_a_request() -> None:
    data = encode_request(7, Op.SET_DATA, 3, ("/a", b"x", -1))
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert unpack(data[4:]) == (7, 5, 3, "/a", b"x", -1)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_any_cut_of_the_stream_gives_the_same_messages(cuts: list[int]) -> None:
    stream = pack((*HELLO, "later")) + b"".join(frame(pack(raw)) for raw, _ in SCRIPT)
    decoder, found, at, turn = NativeDecoder(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == [WELCOME, *(message for _, message in SCRIPT)]


@pytest.mark.parametrize("raw", [(), 7, (1, 2), ("1", 2, 0), (1, "2", 0), (1, 2, "0"), (-1, 2, ((1, 2),)), {}])
def test_what_is_no_frame_of_the_protocol_is_refused(raw: object) -> None:
    decoder = NativeDecoder()
    decoder.feed(pack(HELLO))
    with pytest.raises(WireError):
        decoder.feed(frame(pack(raw)))


@pytest.mark.parametrize("raw", [(*HELLO[:11],), ("kazoo", *HELLO[1:]), (*HELLO[:3], "0", *HELLO[4:])])
def test_what_is_no_hello_is_refused(raw: tuple[Any, ...]) -> None:
    with pytest.raises(WireError, match="handshake"):
        NativeDecoder().feed(pack(raw))


def test_a_reply_over_the_limit_is_refused() -> None:
    decoder = NativeDecoder(max_reply_bytes=100)
    decoder.feed(pack(HELLO))
    with pytest.raises(WireError, match="over the limit"):
        decoder.feed(frame(b"x" * 101))


def test_results_have_the_types_of_the_operation_table() -> None:
    longer = (*STAT, "of a later version")
    assert decode_result(Op.GET_DATA, (None, longer, "more")) == (None, STAT)
    assert type(decode_result(Op.EXISTS, (tuple(STAT),))[0]) is Stat
    assert decode_result(Op.GET_CHILDREN2, (("a", "b"), tuple(STAT))) == (("a", "b"), STAT)
    assert decode_result(Op.CREATE, ("/a", tuple(STAT))) == ("/a", STAT)
    assert decode_result(Op.DELETE, ()) == ()
    assert decode_result(Op.ADD_WATCH, (True,)) == (True,)
    assert decode_result(Op.GET_ACL, (((31, "world", "anyone", 0),), tuple(STAT)))[0] == ((31, "world", "anyone"),)
    assert decode_result(Op.WHO_AM_I, ((("ip", "::1"),),))[0] == (("ip", "::1"),)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        (Op.GET_DATA, (b"",)),
        (Op.GET_DATA, ("text", tuple(STAT))),
        (Op.EXISTS, (tuple(STAT)[:10],)),
        (Op.EXISTS, ((*STAT[:10], True),)),
        (Op.EXISTS, (7,)),
        (Op.GET_CHILDREN2, (("a", 1), tuple(STAT))),
        (Op.CREATE, (b"/a", tuple(STAT))),
        (Op.GET_ACL, (((31, "world"),), tuple(STAT))),
        (Op.WHO_AM_I, (((1, 2),),)),
        (Op.GET_ALL_CHILDREN_NUMBER, ("7",)),
    ],
)
def test_results_that_do_not_fit_are_refused(op: Op, fields: tuple[Any, ...]) -> None:
    with pytest.raises(WireError):
        decode_result(op, fields)


def test_a_multi() -> None:
    ops = [int(Op.CREATE), int(Op.CHECK)]
    assert decode_multi(ops, (((0, "/a", tuple(STAT)), (0,)),)) == ((0, ("/a", STAT)), (0, ()))
    assert decode_multi(ops, (((0,), (-101,)),)) == ((0, ()), (-101, ()))
    for wrong in ((), ((),), (((0,),),), ((7, 7),)):
        with pytest.raises(WireError):
            decode_multi(ops, wrong)
