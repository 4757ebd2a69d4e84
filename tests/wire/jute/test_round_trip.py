"""jute: what one side writes the other reads, whole and cut anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from fuzzing.bench import Bench
from fuzzing.strategies import PARTS, READ_PARTS, REQUESTS, RESULTS, blobs, ints, longs, paths
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.operations import CreateMode, Op
from coordserver.wire.jute import client, replies
from coordserver.wire.jute.primitives import RecordError
from coordserver.wire.jute.requests import DECODERS, decode_connect

HEADER = 8
REPLY_HEADER = 16
ops = st.sampled_from(sorted(REQUESTS))


def arguments_read(op: int, given_: tuple[Any, ...]) -> tuple[Any, ...]:
    """How the server's side has what a client said: the core's arguments."""
    match op:
        case Op.MULTI:
            return (tuple((part[0], *part_read(part[0], part[1:])) for part in given_[0]),)
        case Op.MULTI_READ:
            return (tuple((part[0], part[1]) for part in given_[0]),)
        case Op.CREATE | Op.CREATE2 | Op.CREATE_CONTAINER:
            return part_read(op, given_)
        case Op.ADD_WATCH:
            return (*given_, -1)
        case Op.SET_WATCHES:
            return (*given_, (), ())
    return given_


def part_read(op: int, given_: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same for an operation of a multi, where a TTL is only one with a mode that has TTLs."""
    match op:
        case Op.CREATE | Op.CREATE2:
            return (*given_, -1)
        case Op.CREATE_TTL:
            return (*given_[:4], given_[4] if given_[3] in (5, 6) else -1)
        case Op.CREATE_CONTAINER:
            path, data, acl, mode = given_
            if 0 <= mode <= 6:
                sequential = mode in (2, 3, 6)
                mode = CreateMode.CONTAINER_SEQUENTIAL if sequential else CreateMode.CONTAINER
            return path, data, acl, int(mode), -1
    return given_


def test_every_operation_is_tried() -> None:
    without_result = {Op.CHECK, Op.ADD_WATCH, Op.SET_WATCHES, Op.SET_WATCHES2}
    assert set(REQUESTS) == set(DECODERS)
    assert set(RESULTS) == set(client._RESULTS) - without_result - {Op.MULTI, Op.MULTI_READ}


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_requests(data: st.DataObject) -> None:
    op = data.draw(ops)
    said = data.draw(REQUESTS[op])
    frame = client.request(7, op, said)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert DECODERS[op](frame[4:], HEADER) == arguments_read(op, said)
    assert DECODERS[op](frame[4:] + b"trailing", HEADER) == arguments_read(op, said), "trailing bytes are ignored"


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_request_that_is_cut_anywhere_is_refused(data: st.DataObject) -> None:
    op = data.draw(ops)
    body = client.request(7, op, data.draw(REQUESTS[op]))[4:]
    for cut in range(HEADER, len(body)):
        with pytest.raises(RecordError):
            DECODERS[op](body[:cut], HEADER)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_replies(data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(sorted(RESULTS)))
    result = data.draw(RESULTS[op])
    frame = replies.frame(5, 9, 0, replies.ENCODERS[op](result))
    header, at = client.decode_reply_header(frame[4:])
    assert (header, at) == ((5, 9, 0), REPLY_HEADER)
    assert client.decode_result(op, frame[4:], at) == result
    for cut in range(REPLY_HEADER, len(frame) - 4):
        with pytest.raises(RecordError):
            client.decode_result(op, frame[4 : 4 + cut], at)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_multi_replies(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from([Op.CREATE, Op.CREATE2, Op.DELETE, Op.CHECK, Op.SET_DATA]), max_size=4))
    results = [data.draw(RESULTS.get(int(kind), st.just(()))) for kind in kinds]
    body = replies.multi(kinds, [(0, *result) for result in results])
    assert client.decode_result(Op.MULTI, body, 0)[0] == tuple(
        (int(kind), 0, *result) for kind, result in zip(kinds, results, strict=True)
    )
    codes = data.draw(st.lists(st.sampled_from([0, -2, -101, -110]), min_size=1, max_size=4))
    if any(codes):
        failed = replies.multi(kinds, [(code,) for code in codes])
        assert client.decode_result(Op.MULTI, failed, 0)[0] == tuple((-1, code) for code in codes)


@given(longs, ints, longs, blobs, st.sampled_from([None, True, False]))
def test_handshakes(zxid: int, timeout: int, session: int, password: bytes | None, read_only: bool | None) -> None:
    said = client.connect_request(
        last_zxid=zxid, timeout_ms=timeout, session_id=session, password=password or b"", read_only=read_only
    )
    assert decode_connect(said[4:]) == (0, zxid, timeout, session, password or b"", read_only)
    told = replies.connect_response(timeout, session, password or b"", read_only)
    assert client.decode_connect_response(told[4:]) == (timeout, session, password or b"", read_only)
    for body, decode in ((said[4:], decode_connect), (told[4:], client.decode_connect_response)):
        for cut in range(len(body) - (read_only is not None)):
            with pytest.raises(RecordError):
                decode(body[:cut])


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4]), paths), max_size=4), longs)
def test_notifications(events: list[tuple[int, str]], zxid: int) -> None:
    told = replies.notifications(zxid, events)
    found = []
    while told:
        body = told[4 : (end := 4 + int.from_bytes(told[:4], "big"))]
        header, at = client.decode_reply_header(body)
        assert header == (-1, zxid, 0)
        found.append(client.decode_event(body, at))
        told = told[end:]
    assert found == events


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_bytes_one_by_one_say_the_same(data: st.DataObject) -> None:
    said = client.connect_request(timeout_ms=10_000)
    for xid in range(1, data.draw(st.integers(2, 8))):
        op = data.draw(ops)
        said += client.request(xid, op, data.draw(REQUESTS[op]))
    piece = data.draw(st.integers(1, 9))
    whole, cut = Bench().jute(), Bench().jute()
    assert whole.say(said) == cut.say(said, piece)
    assert (whole.closed is None) == (cut.closed is None)


def test_parts_are_those_of_a_multi() -> None:
    assert set(PARTS) | set(READ_PARTS) <= set(REQUESTS) | {Op.CHECK}
