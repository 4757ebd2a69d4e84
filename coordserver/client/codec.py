"""The seam between the session and the bytes.

The session knows requests, replies and events; a codec turns them into bytes and back. One codec object lives as long
as one connection, so it may keep what its protocol needs to know of the requests under way (jute does not repeat the
operation in a reply).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias


class Hello(NamedTuple):
    """What the client says first. `session_id` 0 asks for a new session."""

    session_id: int
    password: bytes
    timeout_ms: int
    last_zxid: int
    history_id: bytes | None
    name: str


class Welcome(NamedTuple):
    """The server's answer. `error` is 0, or the code why there is no session; limits are in frames and bytes."""

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
    """The answer to the request `number`. `fields` are for the codec's own `result`."""

    number: int
    zxid: int
    error: int
    fields: tuple[Any, ...]
    detail: str


class Events(NamedTuple):
    """What one change, `zxid`, did to watched znodes: pairs of event kind and path. zxid is -1 where not told."""

    zxid: int
    events: Sequence[tuple[int, str]]


class Ended(NamedTuple):
    """The server ends the session on this connection: -112 expired, -118 moved to another connection."""

    reason: int


Message: TypeAlias = Welcome | Reply | Events | Ended


class Codec(Protocol):
    """One connection's translator. Nothing here blocks."""

    @property
    def resends_writes(self) -> bool:
        """Whether the server knows a write again by its number, so that sending it twice does it once."""

    def hello(self, hello: Hello) -> bytes:
        """The opening bytes."""

    def request(self, number: int, op: int, acked: int, args: Sequence[Any]) -> bytes:
        """One request frame; operations of a multi are `(op, *arguments)` each.

        Raises TypeError, ValueError or OverflowError where an argument cannot be carried, LookupError where the
        protocol has no such operation.
        """

    def result(self, op: int, args: Sequence[Any], fields: tuple[Any, ...]) -> tuple[Any, ...]:
        """A reply's fields typed as the operation table says; of a multi, `(code, result)` for each operation.

        Raises WireError if they do not fit.
        """

    def receive(self, data: bytes) -> list[Message]:
        """Every message completed by these bytes. Raises WireError if the server does not speak the protocol."""
