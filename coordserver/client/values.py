"""The values that the client returns."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from coordserver.core.model.operations import EventKind
from coordserver.core.model.stat import Stat


class Created(NamedTuple):
    """A created znode. `path` includes the sequence number of a sequential znode."""

    path: str
    stat: Stat

    def __str__(self) -> str:
        return self.path


class Node(NamedTuple):
    """A znode's data and Stat, unpackable as `data, stat`."""

    data: bytes
    stat: Stat


class TxResult(NamedTuple):
    """The result of one operation of a transaction.

    A create has `path` and `stat`, a set has `stat`, a delete or check has neither. ZooKeeper before 3.9 returns no
    Stat for a create. `zxid` is that of the transaction, and therefore the czxid of the znodes that it creates.
    """

    path: str = ""
    stat: Stat | None = None
    zxid: int = 0


class SessionState(Enum):
    """The state of the session.

    SUSPENDED: the connection is lost. The session may still exist, and the client tries to reconnect to it.
    LOST: the server reported that the session has ended, with its ephemerals. The client opens a new session.
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"
    CLOSED = "closed"


class WatchKind(Enum):
    """The kind of a watch event.

    RESYNC: events may be missing, so the receiver must read the watched znodes again.
    """

    CREATED = "created"
    DELETED = "deleted"
    CHANGED = "changed"
    CHILDREN = "children"
    RESYNC = "resync"


class WatchEvent(NamedTuple):
    """One watch event. `zxid` is that of the change, or -1 if the server does not report it."""

    kind: WatchKind
    path: str
    zxid: int


KIND_OF_EVENT: dict[int, WatchKind] = {
    int(EventKind.CREATED): WatchKind.CREATED,
    int(EventKind.DELETED): WatchKind.DELETED,
    int(EventKind.DATA_CHANGED): WatchKind.CHANGED,
    int(EventKind.CHILDREN_CHANGED): WatchKind.CHILDREN,
}
