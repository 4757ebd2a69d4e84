"""The words between the engine and the edge that carries its connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import attrs


@attrs.frozen(kw_only=True)
class EngineLimits:
    """What a client may ask for. Times in ms; `outstanding_per_session` counts requests that are not answered yet.

    `outstanding_writes`: of all sessions together, on their way through the log. `reply_bytes`: data in the answer to
        one multiRead. `znodes_per_record`: how many znodes one delete_tree deletes at most. `acl_entries`, `acl_bytes`:
        of one ACL that is set now; what was stored before may be longer.

        Containers and TTL znodes are looked through every `container_check_ms`; a container that never had a child goes
        after `container_never_used_ms` (0: never), at most `container_per_check` go at a time (ContainerManager).
        `enforce_quota`: hard limits of quotas refuse writes (ZooKeeper's enforceQuota). `x509`: ACLs
        may name subjects of certificates.
    """

    session_timeout_ms_min: int = 4_000
    session_timeout_ms_max: int = 40_000
    sessions: int = 100_000
    outstanding_per_session: int = 1_000
    outstanding_writes: int = 100_000
    znode_bytes: int = 1 << 20
    acl_entries: int = 256
    acl_bytes: int = 16 * 1024
    ephemerals_per_session: int = 10_000
    multi_operations: int = 10_000
    znodes_per_record: int = 10_000
    children_per_reply: int = 200_000
    reply_bytes: int = 16 * 1024 * 1024
    watches_per_session: int = 200_000
    container_check_ms: int = 60_000
    container_never_used_ms: int = 300_000
    container_per_check: int = 10_000
    enforce_quota: bool = False
    x509: bool = False


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


@attrs.frozen
class EngineStatistics:
    """Counters of the engine, at one instant."""

    sessions: int
    attached: int
    outstanding: int
    proposals: int
    watches: int
    watched_paths: int
    expired: int
    expiries_failed: int
    refused: int
    read_errors: int
