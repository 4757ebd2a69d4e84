"""Every operation with too few, too many and wrong arguments, at the top and within its lists: a typed answer by its
number, never SYSTEM_ERROR, and the connection lives on. Extra arguments at the end change nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from fuzzing.bench import Bench

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import OPERATIONS, Kind, Op
from coordserver.wire.jute import client
from coordserver.wire.jute.requests import DECODERS
from coordserver.wire.native.client import NativeDecoder, Reply, encode_hello, encode_request

OPEN = ((31, "world", "anyone"),)
ACL_OF_ALL = (31, "world", "anyone")
CREATION = ("/new", b"x", OPEN, 0, -1)
NUMBER = 7
PING = 8

GOOD: dict[int, tuple[Any, ...]] = {
    **{int(op): CREATION for op in (Op.CREATE, Op.CREATE2)},
    int(Op.CREATE_CONTAINER): ("/new", b"x", OPEN, 4, -1),
    int(Op.CREATE_TTL): ("/new", b"x", OPEN, 5, 1_000),
    int(Op.DELETE): ("/a", -1),
    int(Op.SET_DATA): ("/a", b"y", -1),
    int(Op.SET_ACL): ("/a", OPEN, -1),
    int(Op.MULTI): (((int(Op.CHECK), "/a", -1), (int(Op.CREATE), *CREATION), (int(Op.DELETE), "/a", -1)),),
    int(Op.DELETE_TREE): ("/a",),
    **{int(op): ("/a", True) for op in (Op.EXISTS, Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2)},
    **{int(op): ("/a",) for op in (Op.GET_ACL, Op.GET_EPHEMERALS, Op.GET_ALL_CHILDREN_NUMBER, Op.SYNC)},
    int(Op.ADD_WATCH): ("/a", 1, 0),
    **{int(op): ("/a", 3) for op in (Op.REMOVE_WATCHES, Op.CHECK_WATCHES)},
    **{int(op): (0, ("/a",), ("/b",), ("/a",), ("/a",), ("/a",)) for op in (Op.SET_WATCHES, Op.SET_WATCHES2)},
    int(Op.MULTI_READ): (((int(Op.GET_DATA), "/a"), (int(Op.GET_CHILDREN), "/a")),),
    int(Op.AUTH): ("digest", b"u:p"),
    **{int(op): () for op in (Op.PING, Op.WHO_AM_I)},
}
WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 31, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.5, float("nan")),
    *("", "a", "/", "/a", "/a/", "/\0", "/\U0001f600", "x" * 300, b"", b"/a", b"\xff" * 9),
    *((), (None,), ((),), ("/a",), (("/a",),), ((4, "/a"),), ((4, "/a", False, 1),), (ACL_OF_ALL, None)),
)
"""In the place of any argument, at any depth."""


def variants(value: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The array cut, made longer, and with each element replaced, at every depth."""
    for length in range(len(value)):
        yield value[:length]
    for extra in WRONG:
        yield (*value, extra)
    for at, element in enumerate(value):
        for other in WRONG:
            yield (*value[:at], other, *value[at + 1 :])
        if type(element) is tuple:
            for other in variants(element):
                yield (*value[:at], other, *value[at + 1 :])


def ask(op: int, arguments: tuple[Any, ...]) -> Reply:
    """What a fresh server with a znode /a says; a ping behind it is answered."""
    wire = Bench().native()
    said = encode_hello(timeout_ms=10_000) + encode_request(1, Op.CREATE, 1, ("/a", b"", None, 0, -1))
    wire.say(said)
    told = wire.say(encode_request(NUMBER, op, 1, arguments) + encode_request(PING, Op.PING, 1, ()))
    assert wire.closed is None
    # The decoder wants a handshake's answer first; that one was taken above.
    decoder = NativeDecoder()
    decoder.feed(Bench().native().say(encode_hello(timeout_ms=10_000)))
    answer, pong = (answer for answer in decoder.feed(told) if isinstance(answer, Reply))
    assert (answer.number, pong.number, pong.error) == (NUMBER, PING, 0)
    return answer


def test_there_is_an_example_of_every_operation() -> None:
    asked = {op for op, row in OPERATIONS.items() if row.kind is not Kind.INTERNAL}
    assert asked - set(GOOD) == {Op.CHECK, Op.CLOSE_SESSION}
    for op, arguments in GOOD.items():
        assert ask(op, arguments).error in (0, ErrorCode.NO_WATCHER)


@pytest.mark.parametrize("op", sorted(GOOD), ids=lambda op: Op(op).name)
def test_no_arguments_make_a_system_error(op: int) -> None:
    for arguments in variants(GOOD[op]):
        assert ask(op, arguments).error != ErrorCode.SYSTEM_ERROR, arguments


@pytest.mark.parametrize("op", sorted(GOOD), ids=lambda op: Op(op).name)
def test_too_few_arguments_are_told_and_extra_ones_ignored(op: int) -> None:
    arguments = GOOD[op]
    for length in range(len(arguments)):
        assert ask(op, arguments[:length]).error in (ErrorCode.MALFORMED, ErrorCode.BAD_ARGUMENTS)
    plain = ask(op, arguments)
    assert ask(op, (*arguments, "more", 1)) == plain
    if op in (Op.MULTI, Op.MULTI_READ):
        assert ask(op, (tuple((*part, "more", 1) for part in arguments[0]),)) == plain


def jute_bodies(op: int) -> Iterator[bytes]:
    """A good body cut anywhere, made longer, and with each four bytes of it replaced by numbers that are lies."""
    arguments = GOOD[op]
    if op == Op.MULTI_READ:  # there each part has a flag behind its path
        arguments = (tuple((*part, False) for part in arguments[0]),)
    body = client.request(NUMBER, op, arguments)[4 + 8 :]
    yield body
    for length in range(len(body)):
        yield body[:length]
    yield body + b"more"
    for lie in (-(2**31), -1, 0, 1, 2**31 - 1):
        for at in range(len(body)):
            yield body[:at] + struct.pack(">i", lie) + body[at + 4 :]


@pytest.mark.parametrize("op", sorted(set(DECODERS) - {int(Op.CLOSE_SESSION)}), ids=lambda op: Op(op).name)
def test_no_record_of_zookeepers_protocol_makes_a_system_error(op: int) -> None:
    bench = Bench()
    wire = bench.jute()
    wire.say(client.connect_request(timeout_ms=10_000))
    for body in jute_bodies(op):
        data = struct.pack(">ii", NUMBER, op) + body
        told = wire.say(struct.pack(">i", len(data)) + data)
        assert wire.closed is None
        replies = [frame for frame in frames(told) if frame[:4] != struct.pack(">i", -1)]
        assert len(replies) == 1, body
        # On the wire a SYSTEM_ERROR looks as in ZooKeeper, like a record that cannot be read.
        assert bench.engine.statistics().read_errors == 0, body


def frames(data: bytes) -> Iterator[bytes]:
    """The frames of a stream."""
    while data:
        (length,) = struct.unpack_from(">i", data)
        yield data[4 : 4 + length]
        data = data[4 + length :]
