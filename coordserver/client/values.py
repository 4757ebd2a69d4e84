"""What the client hands out: plain values."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from coordserver.core.operations import EventKind
from coordserver.core.stat import Stat


class Created(NamedTuple):
    """What a create made. `path` is the real one, with the sequence number where there is one."""

    path: str
    stat: Stat

    def __str__(self) -> str:
        return self.path


class Node(NamedTuple):
    """A znode's data and Stat, unpackable as `data, stat`."""

    data: bytes
    stat: Stat


class TxResult(NamedTuple):
    """What one operation of a transaction gave: a create both, a set the Stat, a delete or check neither.

    ZooKeepers before 3.9 give no Stat for a create. `zxid` is that of the whole, and so the czxid of what it created.
    """

    path: str = ""
    stat: Stat | None = None
    zxid: int = 0


class SessionState(Enum):
    """Where the session is.

    SUSPENDED: the connection is gone, the session may live; it is being looked for. LOST: the server said that the
    session has ended, with its ephemerals; a new one is being opened.
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"
    CLOSED = "closed"


class WatchKind(Enum):
    """What happened to a watched znode. RESYNC: events may be missing, read again what you watch."""

    CREATED = "created"
    DELETED = "deleted"
    CHANGED = "changed"
    CHILDREN = "children"
    RESYNC = "resync"


class WatchEvent(NamedTuple):
    """One event. `zxid` is of the change that caused it, -1 where the server does not tell."""

    kind: WatchKind
    path: str
    zxid: int


KIND_OF_EVENT: dict[int, WatchKind] = {
    int(EventKind.CREATED): WatchKind.CREATED,
    int(EventKind.DELETED): WatchKind.DELETED,
    int(EventKind.DATA_CHANGED): WatchKind.CHANGED,
    int(EventKind.CHILDREN_CHANGED): WatchKind.CHILDREN,
}
