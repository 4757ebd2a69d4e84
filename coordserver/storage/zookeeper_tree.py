"""ZooKeeper's tree during the replay of its log over a fuzzy snapshot.

The replay has the same tolerance as ZooKeeper's (DataTree.processTxn). A change that the snapshot already has is not an
error, and the counters of a parent are repaired from the values in the record.

The resulting state includes the sessions and their ephemerals. The installation of the state ends them.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from coordserver.core.model import paths
from coordserver.core.model.access import intern_acl
from coordserver.core.model.acl import ACL
from coordserver.core.model.operations import Op
from coordserver.core.state.machine import Machine
from coordserver.core.state.quotas import LIMITS_NAME, PREFIX, STATS_NAME
from coordserver.core.state.sessions import Session
from coordserver.core.state.tree import DataTree
from coordserver.core.state.znode import CONTAINER_TTL, Znode
from coordserver.storage.errors import CorruptionError
from coordserver.storage.zookeeper_files import FileSnapshot, FileTxn, FileZnode, JuteReader, Truncated

_RECONFIG = 16
_CONTAINER_OWNER = -0x8000_0000_0000_0000
_TTL_OWNER = -(1 << 56)
_TTL_KIND_SHIFT = 40
_TTL_MASK = (1 << _TTL_KIND_SHIFT) - 1
_PASSWORD = bytes(16)

Acl = tuple[ACL, ...]


@attrs.define(eq=False)
class _Node:
    """A znode. The keys of `children` are their names."""

    data: bytes | None
    acl: Acl
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int = 0
    creates: int = 0
    aversion: int = 0
    owner: int = 0
    children: dict[str, None] = attrs.field(factory=dict)


class _NoNode(Exception):
    pass


class _NodeExists(Exception):
    pass


class ZooKeeperTree:
    """The znodes and sessions.

    `zxid` is the last one applied. `tolerated` counts the changes that did not apply, because the snapshot already had
    them.
    """

    def __init__(self, snapshot: FileSnapshot, zxid: int) -> None:
        """`zxid` is the one in the snapshot's name. Raises CorruptionError if the parent of a znode is missing."""
        self.zxid = zxid
        self.sessions = dict(snapshot.sessions)
        self.tolerated = 0
        self._nodes: dict[str, _Node] = {}
        self._owned: dict[int, dict[str, None]] = {}
        for znode in snapshot.znodes:
            self._add_znode(znode)
        if paths.ROOT not in self._nodes:
            raise CorruptionError("a snapshot without a root")

    def __len__(self) -> int:
        return len(self._nodes)

    def apply(self, txn: FileTxn) -> None:
        """Replay one log entry. Raises CorruptionError for an entry that ZooKeeper could not replay either."""
        try:
            self._apply(txn, txn.type, JuteReader(txn.body))
        except Truncated:
            raise CorruptionError(f"the record of zxid {txn.zxid:#x}, of type {txn.type}, ends too early") from None
        except ValueError as fault:
            raise CorruptionError(f"the record of zxid {txn.zxid:#x}, of type {txn.type}: {fault}") from None
        self.zxid = max(self.zxid, txn.zxid)

    def _apply(self, txn: FileTxn, kind: int, body: JuteReader) -> None:
        replay = _REPLAYS.get(kind)
        if replay is None:
            raise ValueError("the type is unknown")
        try:
            replay(self, txn, body)
        except (_NoNode, _NodeExists):
            self.tolerated += 1

    # -- records ----------------------------------------------------------------------------------------------------

    def _create(self, txn: FileTxn, body: JuteReader) -> None:
        path, data, acl, ephemeral = body.text(), body.buffer(), body.acl(), body.boolean()
        self._insert(txn, path, data, acl, txn.session if ephemeral else 0, self._parent_creates(body))

    def _create_container(self, txn: FileTxn, body: JuteReader) -> None:
        path, data, acl = body.text(), body.buffer(), body.acl()
        self._insert(txn, path, data, acl, _CONTAINER_OWNER, self._parent_creates(body))

    def _create_ttl(self, txn: FileTxn, body: JuteReader) -> None:
        path, data, acl, creates, ttl = body.text(), body.buffer(), body.acl(), body.int32(), body.int64()
        self._insert(txn, path, data, acl, ttl | _TTL_OWNER, creates)

    @staticmethod
    def _parent_creates(body: JuteReader) -> int:
        """Read the parent's cversion at the end of a create record.

        Records from before 3.4 do not have it. The result is -1 then, and `_insert` counts it.
        """
        return body.int32() if body.left >= 4 else -1

    def _delete(self, txn: FileTxn, body: JuteReader) -> None:
        self._remove(body.text(), txn.zxid)

    def _set_data(self, txn: FileTxn, body: JuteReader) -> None:
        path, data, version = body.text(), body.buffer(), body.int32()
        node = self._find_node(path)
        node.data, node.version, node.mzxid, node.mtime = data, version, txn.zxid, txn.time_ms

    def _set_acl(self, txn: FileTxn, body: JuteReader) -> None:
        path, acl, version = body.text(), body.acl(), body.int32()
        node = self._find_node(path)
        node.acl, node.aversion = acl, version

    def _create_session(self, txn: FileTxn, body: JuteReader) -> None:
        self.sessions[txn.session] = body.int32()

    def _close_session(self, txn: FileTxn, body: JuteReader) -> None:
        self.sessions.pop(txn.session, None)
        owned = self._owned.pop(txn.session, {})
        for path in dict.fromkeys((*_paths_to_delete(body), *owned)):
            try:
                self._remove(path, txn.zxid)
            except _NoNode:
                self.tolerated += 1

    def _multi(self, txn: FileTxn, body: JuteReader) -> None:
        parts = [(body.int32(), body.buffer() or b"") for _ in range(body.count())]
        if any(kind == Op.ERROR for kind, _ in parts):
            return
        for kind, part in parts:
            self._apply(txn, kind, JuteReader(part))

    def _ignore(self, txn: FileTxn, body: JuteReader) -> None:
        """Ignore a refused request or a check, which only uses up a zxid."""

    # -- the tree ---------------------------------------------------------------------------------------------------

    def _add_znode(self, znode: FileZnode) -> None:
        path = znode.path
        if path != paths.ROOT:
            parent = self._nodes.get(paths.parent_of(path))
            if parent is None:
                raise CorruptionError(f"{path} appears before its parent")
            parent.children[paths.name_of(path)] = None
        self._nodes[path] = _Node(
            znode.data,
            znode.acl,
            znode.czxid,
            znode.mzxid,
            znode.pzxid,
            znode.ctime,
            znode.mtime,
            znode.version,
            znode.creates,
            znode.aversion,
            znode.owner,
        )
        self._add_owned(path, znode.owner)

    def _find_node(self, path: str) -> _Node:
        node = self._nodes.get(path or paths.ROOT)
        if node is None:
            raise _NoNode
        return node

    def _insert(self, txn: FileTxn, path: str, data: bytes | None, acl: Acl, owner: int, creates: int) -> None:
        """Create a znode. `creates` is the parent's cversion after the creation, or -1 to count it.

        The parent's counters are updated even if the child exists already. The snapshot may have been written after the
        creation, or it may have a later child of the same name. The counters only increase, because a record may be
        older than the snapshot. Raises _NoNode without a parent, _NodeExists.
        """
        parent = self._find_node(paths.parent_of(path))
        name = paths.name_of(path)
        creates = parent.creates + 1 if creates == -1 else creates
        if creates > parent.creates:
            parent.creates, parent.pzxid = creates, txn.zxid
        if name in parent.children:
            raise _NodeExists
        parent.children[name] = None
        zxid, now = txn.zxid, txn.time_ms
        self._nodes[path] = _Node(data, acl, zxid, zxid, zxid, now, now, owner=owner)
        self._add_owned(path, owner)
        if path.startswith(PREFIX) and path.endswith(STATS_NAME):
            self._count_quota(path[len(paths.QUOTA) : -len(STATS_NAME)])

    def _remove(self, path: str, zxid: int) -> None:
        """Delete a znode. Raises _NoNode if it, or its parent, does not exist.

        The parent's pzxid is updated even if the snapshot was written after the deletion and does not have the child.
        """
        parent = self._find_node(paths.parent_of(path))
        parent.children.pop(paths.name_of(path), None)
        parent.pzxid = max(parent.pzxid, zxid)
        node = self._find_node(path)
        if path.startswith(PREFIX) and path.endswith(LIMITS_NAME):
            # Without a limit nothing updates the total, so it keeps the value of this moment.
            self._count_quota(path[len(paths.QUOTA) : -len(LIMITS_NAME)])
        del self._nodes[path]
        owned = self._owned.get(node.owner)
        if owned is not None:
            owned.pop(path, None)

    def _add_owned(self, path: str, owner: int) -> None:
        if owner:
            self._owned.setdefault(owner, {})[path] = None

    # -- conversion to a Machine ------------------------------------------------------------------------------------

    def to_machine(self, history_id: bytes) -> Machine:
        """Convert the tree to a state. Every owner of an ephemeral gets a session.

        `/zookeeper/config` becomes empty, because it describes the old ensemble. Totals of quotas are counted again.
        """
        machine = Machine(history_id, DataTree())
        machine.index, machine.zxid = 1, self.zxid
        for session_id, timeout_ms in self.sessions.items():
            machine.sessions[session_id] = Session(session_id, _PASSWORD, timeout_ms)
        self._count_quotas()
        pending = [paths.ROOT]
        # Breadth first, so that siblings are added in the order in which their parent lists them.
        for path in pending:
            node = self._nodes[path]
            machine.tree.adopt(path, self._to_znode(machine, path, node))
            pending.extend(paths.join(path, name) for name in node.children)
        self._complete_system_nodes(machine)
        return machine

    def _to_znode(self, machine: Machine, path: str, node: _Node) -> Znode:
        owner, ttl = self._split_owner(node.owner)
        if owner and owner not in machine.sessions:
            machine.sessions[owner] = Session(owner, _PASSWORD, 0)
        data = b"" if path == paths.CONFIG else node.data
        znode = Znode(data, intern_acl(node.acl), node.czxid, node.ctime, owner, ttl)
        znode.mzxid, znode.pzxid, znode.mtime = node.mzxid, node.pzxid, node.mtime
        znode.version, znode.creates, znode.aversion = node.version, node.creates, node.aversion
        return znode

    def _split_owner(self, owner: int) -> tuple[int, int]:
        """Return (session, ttl) of an ephemeralOwner, whose high bits mark containers and TTLs (EphemeralType).

        The sessions of a server with id 255 look like a TTL. If the session exists, the owner is a session.
        """
        if owner == 0 or owner in self.sessions:
            return owner, 0
        if owner == _CONTAINER_OWNER:
            return 0, CONTAINER_TTL
        if owner >> _TTL_KIND_SHIFT == _TTL_OWNER >> _TTL_KIND_SHIFT:
            return 0, owner & _TTL_MASK
        return owner, 0

    def _count_quotas(self) -> None:
        """Count the totals of all quotas. They are not in the log, and ZooKeeper also counts them at each start."""
        for path in self._nodes:
            if path.startswith(PREFIX) and path.endswith(LIMITS_NAME):
                self._count_quota(path[len(paths.QUOTA) : -len(LIMITS_NAME)])

    def _count_quota(self, limited: str) -> None:
        stats = self._nodes.get(paths.QUOTA + limited + STATS_NAME)
        if stats is not None:
            subtree = [limited] if limited in self._nodes else []
            for path in subtree:
                subtree.extend(paths.join(path, name) for name in self._nodes[path].children)
            size = sum(len(self._nodes[path].data or b"") for path in subtree)
            stats.data = b"count=%d,bytes=%d" % (len(subtree), size)

    @staticmethod
    def _complete_system_nodes(machine: Machine) -> None:
        """Add missing system znodes, because servers before 3.5 have no `/zookeeper/config`."""
        for path, node in DataTree.with_system_nodes().nodes.items():
            if path not in machine.tree.nodes:
                node.children = None
                node.touch()
                machine.tree.adopt(path, node)


def _paths_to_delete(body: JuteReader) -> tuple[str, ...]:
    """Return the ephemerals that the record of a closed session lists, or nothing if it has no list.

    ZooKeeper lists them from 3.6 on, if it is configured so. A digest may follow the list or replace it. If bytes of a
    digest look like a list, its strings are not paths.
    """
    if not body.left:
        return ()
    try:
        found = body.texts()
    except (Truncated, ValueError):
        return ()
    return found if all(path.startswith("/") for path in found) else ()


_Replay = Callable[[ZooKeeperTree, FileTxn, JuteReader], None]
_REPLAYS: dict[int, _Replay] = {
    int(Op.CREATE): ZooKeeperTree._create,
    int(Op.CREATE2): ZooKeeperTree._create,
    int(Op.CREATE_CONTAINER): ZooKeeperTree._create_container,
    int(Op.CREATE_TTL): ZooKeeperTree._create_ttl,
    int(Op.DELETE): ZooKeeperTree._delete,
    int(Op.DELETE_CONTAINER): ZooKeeperTree._delete,
    int(Op.SET_DATA): ZooKeeperTree._set_data,
    _RECONFIG: ZooKeeperTree._set_data,
    int(Op.SET_ACL): ZooKeeperTree._set_acl,
    int(Op.CREATE_SESSION): ZooKeeperTree._create_session,
    int(Op.CLOSE_SESSION): ZooKeeperTree._close_session,
    int(Op.MULTI): ZooKeeperTree._multi,
    int(Op.CHECK): ZooKeeperTree._ignore,
    int(Op.ERROR): ZooKeeperTree._ignore,
}
