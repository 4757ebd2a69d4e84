"""ZooKeeper's protocol as the client's codec has it, byte by byte."""

from __future__ import annotations

import struct

import pytest

from coordserver.client.codec import Reply, Welcome
from coordserver.client.jute import JuteCodec
from coordserver.core.model.errors import ErrorCode, WireError
from coordserver.core.model.operations import Op


def _reply(xid: int, error: int = 0, zxid: int = 1) -> bytes:
    return struct.pack(">iiqi", 16, xid, zxid, error)


def _welcomed() -> JuteCodec:
    codec = JuteCodec()
    (welcome,) = codec.receive(struct.pack(">iiiqi16sb", 37, 0, 4000, 7, 16, b"p" * 16, 0))
    assert isinstance(welcome, Welcome)
    assert (welcome.error, welcome.session_id, welcome.timeout_ms, welcome.password) == (0, 7, 4000, b"p" * 16)
    return codec


def test_replies_that_overtake_wait_for_their_turn() -> None:
    codec = _welcomed()
    codec.request(1, Op.SYNC, 0, ("/",))
    codec.request(2, Op.AUTH, 0, ("digest", b"a:b"))
    codec.request(3, Op.PING, 0, ())
    codec.request(4, Op.SYNC, 0, ("/",))
    assert codec.receive(_reply(-4)) == []
    assert codec.receive(_reply(-2)) == []
    first = [message.number for message in codec.receive(_reply(1)) if isinstance(message, Reply)]
    rest = [message.number for message in codec.receive(_reply(4)) if isinstance(message, Reply)]
    assert (first, rest) == ([1, 2, 3], [4])


def test_replies_that_nobody_asked_for_are_a_fault_of_the_server() -> None:
    for asked, answered in (((), 1), ((Op.SYNC,), 2), ((Op.SYNC, Op.SYNC), 2), ((Op.SYNC,), -2)):
        codec = _welcomed()
        for number, op in enumerate(asked, 1):
            codec.request(number, op, 0, ("/",))
        with pytest.raises(WireError):
            codec.receive(_reply(answered))


def test_numbers_beyond_an_xid_and_throttling() -> None:
    codec = _welcomed()
    codec.request(2**31 + 5, Op.SYNC, 0, ("/",))
    (reply,) = codec.receive(_reply(6, -127))
    assert isinstance(reply, Reply)
    assert (reply.number, reply.error) == (2**31 + 5, ErrorCode.THROTTLED)


def test_a_session_that_has_ended() -> None:
    codec = JuteCodec()
    (welcome,) = codec.receive(struct.pack(">iiiqi16sb", 37, 0, 0, 0, 16, bytes(16), 0))
    assert isinstance(welcome, Welcome)
    assert welcome.error == ErrorCode.SESSION_EXPIRED
