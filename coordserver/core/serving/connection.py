"""What the engine and a connection exchange: the handshake, and the calls that deliver replies and events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Hello(NamedTuple):
    """What a connection opens with (docs/protocol.md, "Handshake").

    `session_id` 0 asks for a new session. `history_id` None: last_zxid is of this history. `remembers` False: the
    connection's numbers are not those of exactly-once writes, and no outcome is kept (ZooKeeper's protocol).
    """

    session_id: int
    password: bytes
    timeout_ms: int
    last_zxid: int = 0
    history_id: bytes | None = None
    name: str = ""
    remembers: bool = True


class Welcome(NamedTuple):
    """The answer to a Hello. With an `error` the session was refused, and the edge closes the connection."""

    error: int
    session_id: int
    password: bytes
    timeout_ms: int
    history_id: bytes
    zxid: int
    last_number: int
    attachment: int


class Sink(Protocol):
    """One connection as the engine sees it. Called synchronously, in order; must not raise or block."""

    def reply(self, number: int, zxid: int, op: int, error: int, result: tuple[Any, ...], detail: str) -> None:
        """The answer to request `number`; `result` are the fields if `error` is 0, `detail` says more if it is not."""

    def events(self, zxid: int, events: Sequence[tuple[int, str]]) -> None:
        """(kind, path) of all that a zxid did to what this connection watches."""

    def welcome(self, w: Welcome) -> None:
        """The handshake's answer, before anything else."""

    def close(self, reason: int) -> None:
        """Nothing more will come: 0 after the reply to close_session, -112 the session expired, -118 it moved."""
