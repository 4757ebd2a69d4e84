"""A session's requests in flight, and the connections they came by.

Requests of one session are answered in the order sent. A write waits in the pipeline until its record is applied; a
read that finds the pipeline empty is answered at once, otherwise it waits behind the writes before it, whichever
connection sent them. The log's order and the pipeline's are the same for the writes of a session, so the record that is
applied next belongs to the write at the pipeline's head.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from coordserver.core.model.acl import Identity
from coordserver.core.serving.connection import Sink
from coordserver.core.state.sessions import Session

CONNECT = 0
WRITE = 1
EXPIRE = 2
READ = 3
REFUSAL = 4

Entry = tuple[int, "Attachment | None", int, int, Any]
"""(what, whose, number, op, extra): extra is the count of ephemerals of a write, a read's arguments, a refusal's error
and detail."""


class Attachment:
    """A connection attached to a session. The edge keeps it and hands it back with every request.

    `identities` may be replaced by the edge when the connection proves more. `session_id` is 0 where the session was
    refused. `outstanding` tells an edge when to stop reading.
    """

    __slots__ = ("closed", "history_known", "identities", "live", "name", "number", "remembers", "sink", "superseded")

    def __init__(self, sink: Sink, identities: tuple[Identity, ...], name: str, remembers: bool) -> None:
        self.sink = sink
        self.identities = identities
        self.name = name
        self.remembers = remembers
        self.live: ClientSession | None = None
        self.number = 0
        self.closed = False
        self.superseded = False
        self.history_known = False

    @property
    def session_id(self) -> int:
        """The session's id, or 0 if there is none."""
        return self.live.id if self.live is not None else 0

    @property
    def outstanding(self) -> int:
        """How many requests of the session wait for their answer."""
        return len(self.live.pipeline) if self.live is not None else 0


class ClientSession:
    """What one server knows of a session beyond the replicated state.

    `attachment` is the connection whose handshake was answered last, `newest` the one that was accepted last; between
    the two lies a resume on its way through the log. `session` is the replicated part once it exists. `unacked` are the
    numbers of the writes whose outcomes are remembered, or will be once they are applied; none is above `last_number`.

    `awaited` estimates the bytes of the answers to reads in the pipeline; an edge takes no further requests while it is
    large. It is what the reads would answer now, or `longest_request`, the bytes of the longest request since the
    pipeline was empty, which the edge notes: a write may bring so many. Both are 0 once the pipeline is empty.
    """

    __slots__ = (
        "attachment",
        "attachments",
        "awaited",
        "closing",
        "expiries_failed",
        "id",
        "last_number",
        "longest_request",
        "newest",
        "pending_ephemerals",
        "pipeline",
        "scheduled",
        "session",
        "timeout_ms",
        "touched",
        "unacked",
    )

    def __init__(self, session_id: int, timeout_ms: int, touched: int, session: Session | None) -> None:
        self.id = session_id
        self.timeout_ms = timeout_ms
        self.touched = touched
        self.scheduled = -1
        self.closing = False
        self.expiries_failed = 0
        self.session = session
        self.attachments = session.attachment if session is not None else 0
        self.attachment: Attachment | None = None
        self.newest: Attachment | None = None
        self.pipeline: deque[Entry] = deque()
        self.awaited = 0
        self.longest_request = 0
        self.pending_ephemerals = 0
        self.unacked: deque[int] = deque(session.outcomes if session is not None else ())
        self.last_number = session.last_number if session is not None else 0

    def lose(self, attachment: Attachment) -> None:
        """A connection is gone. Nothing of it is kept, or all that it was stays for as long as the session."""
        if self.attachment is attachment:
            self.attachment = None
        if self.newest is attachment:
            self.newest = None
