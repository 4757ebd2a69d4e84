"""The one table of operations. Dispatch, codecs, the ACL check and the documentation are drawn from it.

Numbers are ZooKeeper's opcodes (ZooDefs.OpCode) where ZooKeeper has the operation; ours begin at 1000.
Argument tuples are what `Engine.request` takes and what the native protocol carries, in this order.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class Op(IntEnum):
    """Operation numbers."""

    CREATE_SESSION = -10
    CLOSE_SESSION = -11
    ERROR = -1  # a record of something that prep refused, with its code; also in the place of one in a multi
    NOOP = 0
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    RESUME_SESSION = 1001
    DELETE_TREE = 1002
    CONFIGURE = 1003


class Kind(Enum):
    """How an operation travels."""

    WRITE = "write"  # a command record through the log; decided at apply
    READ = "read"  # answered from committed state, behind the session's own writes
    INTERNAL = "internal"  # a record that only the server makes


class CreateMode(IntEnum):
    """org.apache.zookeeper.CreateMode, by flag."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6
    CONTAINER_SEQUENTIAL = 7  # no flag of ZooKeeper's: what createContainer makes of a sequential one


EPHEMERAL_MODES = frozenset({CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL})
SEQUENTIAL_MODES = frozenset(
    {
        CreateMode.PERSISTENT_SEQUENTIAL,
        CreateMode.EPHEMERAL_SEQUENTIAL,
        CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
        CreateMode.CONTAINER_SEQUENTIAL,
    }
)
CONTAINER_MODES = frozenset({CreateMode.CONTAINER, CreateMode.CONTAINER_SEQUENTIAL})
TTL_MODES = frozenset({CreateMode.PERSISTENT_WITH_TTL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL})


class WatchMode(IntEnum):
    """AddWatchMode of ZooKeeper."""

    PERSISTENT = 0
    PERSISTENT_RECURSIVE = 1


class EventKind(IntEnum):
    """Watcher.Event.EventType, by its number on the wire."""

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4


class OperationRow(NamedTuple):
    """One row of the table. `permission` is a bit of acl.py and `permission_on` says of which znode."""

    op: Op
    kind: Kind
    arguments: tuple[str, ...]
    result: str
    permission: int = 0
    permission_on: str = ""
    since: str = "0.1"


_ROWS = (
    OperationRow(Op.CREATE, Kind.WRITE, ("path", "data", "acl", "mode", "ttl_ms"), "path, stat", 4, "parent"),
    OperationRow(Op.CREATE2, Kind.WRITE, ("path", "data", "acl", "mode", "ttl_ms"), "path, stat", 4, "parent"),
    OperationRow(Op.CREATE_CONTAINER, Kind.WRITE, ("path", "data", "acl", "mode", "ttl_ms"), "path, stat", 4, "parent"),
    OperationRow(Op.CREATE_TTL, Kind.WRITE, ("path", "data", "acl", "mode", "ttl_ms"), "path, stat", 4, "parent"),
    OperationRow(Op.DELETE, Kind.WRITE, ("path", "version"), "", 8, "parent"),
    OperationRow(Op.SET_DATA, Kind.WRITE, ("path", "data", "version"), "stat", 2, "node"),
    OperationRow(Op.SET_ACL, Kind.WRITE, ("path", "acl", "version"), "stat", 16, "node"),
    OperationRow(Op.CHECK, Kind.WRITE, ("path", "version"), "", 1, "node"),
    OperationRow(Op.MULTI, Kind.WRITE, ("operations",), "results"),
    OperationRow(Op.DELETE_TREE, Kind.WRITE, ("path",), "deleted, finished", 8, "parents"),
    OperationRow(Op.CLOSE_SESSION, Kind.WRITE, (), ""),
    OperationRow(Op.EXISTS, Kind.READ, ("path", "watch"), "stat", 1, "node"),
    OperationRow(Op.GET_DATA, Kind.READ, ("path", "watch"), "data, stat", 1, "node"),
    OperationRow(Op.GET_CHILDREN, Kind.READ, ("path", "watch"), "children", 1, "node"),
    OperationRow(Op.GET_CHILDREN2, Kind.READ, ("path", "watch"), "children, stat", 1, "node"),
    OperationRow(Op.GET_ACL, Kind.READ, ("path",), "acl, stat", 17, "node"),
    OperationRow(Op.GET_EPHEMERALS, Kind.READ, ("prefix",), "paths"),
    OperationRow(Op.GET_ALL_CHILDREN_NUMBER, Kind.READ, ("path",), "count", 1, "node"),
    OperationRow(Op.SYNC, Kind.READ, ("path",), "path"),
    OperationRow(Op.PING, Kind.READ, (), ""),
    OperationRow(Op.ADD_WATCH, Kind.READ, ("path", "mode", "since_zxid"), "resumed"),
    OperationRow(Op.REMOVE_WATCHES, Kind.READ, ("path", "kind"), ""),
    OperationRow(Op.CHECK_WATCHES, Kind.READ, ("path", "kind"), ""),
    OperationRow(Op.SET_WATCHES, Kind.READ, ("since_zxid", "data", "exist", "child", "persistent", "recursive"), ""),
    OperationRow(Op.SET_WATCHES2, Kind.READ, ("since_zxid", "data", "exist", "child", "persistent", "recursive"), ""),
    OperationRow(Op.MULTI_READ, Kind.READ, ("operations",), "results"),
    OperationRow(Op.WHO_AM_I, Kind.READ, (), "identities"),
    OperationRow(Op.AUTH, Kind.READ, ("scheme", "auth"), ""),
    OperationRow(Op.CREATE_SESSION, Kind.INTERNAL, ("password", "timeout_ms"), ""),
    OperationRow(Op.RESUME_SESSION, Kind.INTERNAL, ("timeout_ms", "attachment"), ""),
    OperationRow(Op.DELETE_CONTAINER, Kind.INTERNAL, ("path", "mzxid"), ""),
    OperationRow(Op.NOOP, Kind.INTERNAL, (), ""),
    OperationRow(Op.ERROR, Kind.INTERNAL, ("code",), ""),
    OperationRow(Op.CONFIGURE, Kind.INTERNAL, ("enforce_quota",), ""),
)

OPERATIONS: dict[int, OperationRow] = {int(row.op): row for row in _ROWS}

RECORDED_AS: dict[int, int] = {
    int(Op.CREATE2): int(Op.CREATE),
    int(Op.CREATE_CONTAINER): int(Op.CREATE),
    int(Op.CREATE_TTL): int(Op.CREATE),
}
"""Operations that differ on the wire only: they are logged and applied as another."""
