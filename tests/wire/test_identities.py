"""Over both protocols a connection is so many identities at most, each so long; who it is goes into its every write."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from fuzzing.bench import HOST, Bench, Wire

from coordserver.core.model.access import IDENTITIES_MAX, IDENTITY_BYTES_MAX, digest_identity
from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op
from coordserver.wire.jute.client import auth_request, connect_request
from coordserver.wire.native.client import NativeDecoder, encode_hello, encode_request

HASH_BYTES = len(digest_identity(b":x").id)


class Native:
    """A client of the native protocol."""

    limit = ErrorCode.LIMIT_EXCEEDED
    lives_on = True

    def __init__(self) -> None:
        self.wire: Wire = Bench().native()
        self.decoder = NativeDecoder()
        self.decoder.feed(self.wire.say(encode_hello(timeout_ms=10_000)))
        self.number = 0

    def prove(self, scheme: str, auth: bytes) -> int:
        """The error of an auth request."""
        self.number += 1
        [reply] = self.decoder.feed(self.wire.say(encode_request(self.number, Op.AUTH, self.number, (scheme, auth))))
        return int(reply.error)


class Jute:
    """A client of ZooKeeper's."""

    limit = ErrorCode.AUTH_FAILED
    lives_on = False

    def __init__(self) -> None:
        self.wire: Wire = Bench().jute()
        self.wire.say(connect_request(timeout_ms=10_000))

    def prove(self, scheme: str, auth: bytes) -> int:
        """The error of an auth request."""
        answer = self.wire.say(auth_request(-4, scheme, auth))
        _, xid, _, error = struct.unpack(">iiqi", answer)
        assert xid == -4
        return int(error)


def identities(client: Any) -> Any:
    """What goes into the records of its writes."""
    return client.wire.connection._attachment.identities


@pytest.mark.parametrize("protocol", [Native, Jute])
def test_the_65th_identity_is_refused_and_one_of_them_again_costs_nothing(protocol: Any) -> None:
    client = protocol()
    shown = [f"user{number}:secret".encode() for number in range(IDENTITIES_MAX - len(HOST))]
    for auth in shown:
        assert client.prove("digest", auth) == 0
    before = identities(client)
    assert len(before) == IDENTITIES_MAX
    for auth in shown[:3]:
        assert client.prove("digest", auth) == 0
    assert client.prove("ip", b"") == 0
    assert identities(client) is before
    assert client.prove("digest", b"one:more") == client.limit
    traffic = client.wire.connection._traffic
    assert traffic.server.auth_failed == 1
    assert client.wire.output.finished is not client.lives_on
    if client.lives_on:
        assert client.prove("digest", shown[0]) == 0
        assert identities(client) is before


@pytest.mark.parametrize("protocol", [Native, Jute])
@pytest.mark.parametrize("letter", ["u", "ü"])
def test_an_identity_is_so_long(protocol: Any, letter: str) -> None:
    most = (IDENTITY_BYTES_MAX - HASH_BYTES) // len(letter.encode())
    client = protocol()
    assert client.prove("digest", f"{letter * most}:x".encode()) == 0
    assert client.prove("digest", f"{letter * (most + 1)}:x".encode()) == client.limit
    assert client.wire.output.finished is not client.lives_on


@pytest.mark.parametrize("protocol", [Native, Jute])
@pytest.mark.parametrize("scheme", ["none", "", "x" * 40_000])
def test_a_scheme_that_is_unknown_is_refused(protocol: Any, scheme: str) -> None:
    client = protocol()
    assert client.prove(scheme, b"x") == ErrorCode.AUTH_FAILED
    assert identities(client) == HOST if client.lives_on else client.wire.output.finished
