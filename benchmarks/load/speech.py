"""The two protocols as the load generator needs them: handshake, requests as bytes, and whether a reply is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute_client
from coordserver.wire.native import client as native_client
from coordserver.wire.native.packing import unpack, unpack_prefix

TIMEOUT_MS = 30_000
PIPELINED = 1_000
"""Requests in flight on one connection: ZooKeeper throttles above so many (globalOutstandingLimit), and so do we."""

_HANDSHAKE_BYTES = 4_096


class WireProtocol(Protocol):
    """One protocol."""

    def hello(self) -> bytes:
        """What a new session begins with."""

    def greeted(self, data: bytes) -> bool:
        """Whether `data` is the whole answer to it. Raises WireError if the session was refused."""

    def request(self, number: int, op: Op, arguments: Sequence[Any]) -> bytes:
        """A request; of one session the numbers rise by one."""

    def check(self, reply: bytes) -> None:
        """Raise WireError where this frame is not a reply that says it went well."""


class JuteSpeech:
    """ZooKeeper's."""

    def hello(self) -> bytes:
        """See WireProtocol."""
        return jute_client.connect_request(timeout_ms=TIMEOUT_MS)

    def greeted(self, data: bytes) -> bool:
        """See WireProtocol."""
        if len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            return False
        if not jute_client.decode_connect_response(data[4:]).timeout_ms:
            raise WireError("the session was refused")
        return True

    def request(self, number: int, op: Op, arguments: Sequence[Any]) -> bytes:
        """See WireProtocol."""
        return jute_client.request(number, op, arguments)

    def check(self, reply: bytes) -> None:
        """See WireProtocol."""
        header, _ = jute_client.decode_reply_header(reply[4:])
        if header.error:
            raise WireError(f"request {header.xid} failed: {header.error}")


class NativeSpeech:
    """Ours. A write's number is remembered until it is acknowledged, so each request acknowledges what is behind it."""

    def hello(self) -> bytes:
        """See WireProtocol."""
        return native_client.encode_hello(timeout_ms=TIMEOUT_MS, name="benchmark")

    def greeted(self, data: bytes) -> bool:
        """See WireProtocol."""
        found = unpack_prefix(data, _HANDSHAKE_BYTES)
        if found is None:
            return False
        if found[0][3]:
            raise WireError(f"the session was refused: {found[0][3]}")
        return True

    def request(self, number: int, op: Op, arguments: Sequence[Any]) -> bytes:
        """See WireProtocol."""
        return native_client.encode_request(number, op, max(1, number - PIPELINED), arguments)

    def check(self, reply: bytes) -> None:
        """See WireProtocol."""
        number, _, error, *_ = unpack(reply[4:])
        if error:
            raise WireError(f"request {number} failed: {error}")


def get_data(path: str, *, watch: bool = False) -> tuple[Op, tuple[Any, ...]]:
    """A read."""
    return Op.GET_DATA, (path, watch)


def set_data(path: str, data: bytes) -> tuple[Op, tuple[Any, ...]]:
    """A write, whatever the version."""
    return Op.SET_DATA, (path, data, -1)


def create(path: str, data: bytes) -> tuple[Op, tuple[Any, ...]]:
    """A persistent znode that is open to all."""
    return Op.CREATE, (path, data, None, 0, 0)


def delete(path: str) -> tuple[Op, tuple[Any, ...]]:
    """Gone, whatever its version."""
    return Op.DELETE, (path, -1)


def get_children(path: str) -> tuple[Op, tuple[Any, ...]]:
    """Names alone."""
    return Op.GET_CHILDREN, (path, False)
