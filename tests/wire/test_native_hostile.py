"""Requests of the native protocol that are cut or bent: a typed answer by their number, and the connection lives on."""

from __future__ import annotations

from typing import Any

from fuzzing.bench import LIMITS, Bench
from fuzzing.strategies import REQUESTS
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op
from coordserver.wire.native.client import NativeDecoder, Reply, encode_hello, encode_request
from coordserver.wire.native.connection import NO_NUMBER
from coordserver.wire.native.framing import frame
from coordserver.wire.native.packing import pack

HELLO = encode_hello(timeout_ms=10_000)
NUMBER = 7
PING = 8
ops = st.sampled_from(sorted(op for op in REQUESTS if op != Op.CLOSE_SESSION))


def answers(said: bytes, piece: int = 0) -> list[Any]:
    """What a fresh server says to a hello and these bytes."""
    wire = Bench().native()
    told = wire.say(HELLO + said, piece)
    assert wire.closed is None
    return NativeDecoder().feed(told)[1:]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_frame_that_is_cut_anywhere_is_malformed(data: st.DataObject) -> None:
    op = data.draw(ops)
    body = encode_request(NUMBER, op, 1, data.draw(REQUESTS[op]))[4:]
    cut = data.draw(st.integers(0, len(body) - 1))
    bad, pong = answers(frame(body[:cut]) + encode_request(PING, Op.PING, 1, ()))
    assert bad.error == ErrorCode.MALFORMED
    assert bad.number == (NUMBER if cut >= 2 else NO_NUMBER)
    assert (pong.number, pong.error) == (PING, 0)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_values_as_arguments_get_one_answer(data: st.DataObject) -> None:
    values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4) | st.binary(max_size=4)
    arguments = data.draw(st.lists(values | st.lists(values, max_size=4).map(tuple), max_size=7))
    op = data.draw(ops | st.integers(-20, 1_010).filter(lambda number: number != Op.CLOSE_SESSION))
    wanted = [answer for answer in answers(_pair(op, arguments)) if isinstance(answer, Reply)]
    assert [answer.number for answer in wanted] == [NUMBER, PING]
    assert wanted[1].error == 0


def _pair(op: int, arguments: list[Any]) -> bytes:
    return encode_request(NUMBER, op, 1, arguments) + encode_request(PING, Op.PING, 1, ())


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_bytes_one_by_one_say_the_same(data: st.DataObject) -> None:
    said = b""
    for number in range(1, data.draw(st.integers(2, 8))):
        op = data.draw(ops)
        said += encode_request(number, op, 1, data.draw(REQUESTS[op]))
    assert answers(said) == answers(said, data.draw(st.integers(1, 9)))


def test_a_frame_over_the_limit_is_told_by_its_number_and_skipped() -> None:
    large = frame(pack((NUMBER, int(Op.SET_DATA), 1, "/", b"x" * LIMITS.frame_bytes, -1)))
    bad, pong = answers(large + encode_request(PING, Op.PING, 1, ()))
    assert (bad.number, bad.error) == (NUMBER, ErrorCode.TOO_LARGE)
    assert (pong.number, pong.error) == (PING, 0)
