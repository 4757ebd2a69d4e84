"""The interface between the session and a wire protocol.

The session works with requests, replies and events. A codec converts them to bytes and back. Each connection has its
own codec, so a codec may store data about the requests under way. Jute needs that: its replies do not repeat the
operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias


class Hello(NamedTuple):
    """The client's first message (ZooKeeper's ConnectRequest). `session_id` 0 asks for a new session."""

    session_id: int
    password: bytes
    timeout_ms: int
    last_zxid: int
    history_id: bytes | None
    name: str


class Welcome(NamedTuple):
    """The server's answer to Hello (ZooKeeper's ConnectResponse).

    `error` is 0, or the error code if the server gives no session. `outstanding` limits the number of requests under
    way, `frame_bytes` the size of a request frame.
    """

    error: int
    session_id: int
    password: bytes
    timeout_ms: int
    outstanding: int
    frame_bytes: int
    history_id: bytes | None
    zxid: int
    last_number: int


class Reply(NamedTuple):
    """The reply to the request `number`. The codec's `result` decodes `fields`."""

    number: int
    zxid: int
    error: int
    fields: tuple[Any, ...]
    detail: str


class Events(NamedTuple):
    """The events of one change, as pairs of event kind and path.

    `zxid` is that of the change, or -1 if the protocol does not report it.
    """

    zxid: int
    events: Sequence[tuple[int, str]]


class Ended(NamedTuple):
    """The server ends the session on this connection.

    `reason` is -112 if the session expired, -118 if it moved to another connection.
    """

    reason: int


Message: TypeAlias = Welcome | Reply | Events | Ended


class Codec(Protocol):
    """Encodes and decodes the messages of one connection. No method blocks."""

    @property
    def resends_writes(self) -> bool:
        """Whether the server recognises a repeated write by its number, so that a write may be sent twice."""

    def hello(self, hello: Hello) -> bytes:
        """Encode the first message of the connection."""

    def request(self, number: int, op: int, acked: int, args: Sequence[Any]) -> bytes:
        """Encode one request frame. Each operation of a multi is `(op, *arguments)`.

        `acked` is the lowest number of an unanswered write. Raises TypeError, ValueError or OverflowError if the
        protocol cannot encode an argument, LookupError if it does not have the operation.
        """

    def result(self, op: int, args: Sequence[Any], fields: tuple[Any, ...]) -> tuple[Any, ...]:
        """Decode the fields of a reply to the types of the operation table.

        The result of a multi is a pair `(code, result)` for each operation. Raises WireError if the fields are invalid.
        """

    def receive(self, data: bytes) -> list[Message]:
        """Decode received bytes. Returns the messages that are complete now, in order.

        Raises WireError if the bytes violate the protocol.
        """
