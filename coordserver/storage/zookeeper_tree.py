"""ZooKeeper's tree while its log is replayed over a fuzzy snapshot, with the tolerance that ZooKeeper itself has
(DataTree.processTxn): what was already there when the snapshot passed is not an error, and a parent's counters are
repaired from what the record says they were.

The result becomes a state of ours, sessions and their ephemerals included; whoever installs it ends them.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from coordserver.core import paths
from coordserver.core.access import intern_acl
from coordserver.core.acl import ACL
from coordserver.core.machine import Machine
from coordserver.core.operations import Op
from coordserver.core.quotas import LIMITS_NAME, PREFIX, STATS_NAME
from coordserver.core.sessions import Session
from coordserver.core.tree import DataTree
from coordserver.core.znode import CONTAINER_TTL, Znode
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
    """A znode; `children` by name."""

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
    """Znodes and sessions. `zxid` is the last one applied, `tolerated` how many records met what was already there."""

    def __init__(self, snapshot: FileSnapshot, zxid: int) -> None:
        """Raises CorruptionError where a znode comes without its parent."""
        self.zxid = zxid
        self.sessions = dict(snapshot.sessions)
        self.tolerated = 0
        self._nodes: dict[str, _Node] = {}
        self._owned: dict[int, dict[str, None]] = {}
        for znode in snapshot.znodes:
            self._adopt(znode)
        if paths.ROOT not in self._nodes:
            raise CorruptionError("a snapshot without a root")

    def __len__(self) -> int:
        return len(self._nodes)

    def apply(self, txn: FileTxn) -> None:
        """Replay one entry. Raises CorruptionError for one that ZooKeeper could not replay either."""
        try:
            self._apply(txn, txn.type, JuteReader(txn.body))
        except Truncated:
            raise CorruptionError(f"the record of zxid {txn.zxid:#x}, of type {txn.type}, ends too early") from None
        except ValueError as fault:
            raise CorruptionError(f"the record of zxid {txn.zxid:#x}, of type {txn.type}: {fault}") from None
        self.zxid = max(self.zxid, txn.zxid)

    def _apply(self, txn: FileTxn, kind: int, body: JuteReader) -> None:
        act = _ACTS.get(kind)
        if act is None:
            raise ValueError("a type that is not known")
        try:
            act(self, txn, body)
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
        """Records of before 3.4 end without it; -1 lets it be counted."""
        return body.int32() if body.left >= 4 else -1

    def _delete(self, txn: FileTxn, body: JuteReader) -> None:
        self._remove(body.text(), txn.zxid)

    def _set_data(self, txn: FileTxn, body: JuteReader) -> None:
        path, data, version = body.text(), body.buffer(), body.int32()
        node = self._node(path)
        node.data, node.version, node.mzxid, node.mtime = data, version, txn.zxid, txn.time_ms

    def _set_acl(self, txn: FileTxn, body: JuteReader) -> None:
        path, acl, version = body.text(), body.acl(), body.int32()
        node = self._node(path)
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

    def _nothing(self, txn: FileTxn, body: JuteReader) -> None:
        """A refused request, or a check: a zxid and no more."""

    # -- the tree ---------------------------------------------------------------------------------------------------

    def _adopt(self, znode: FileZnode) -> None:
        path = znode.path
        if path != paths.ROOT:
            parent = self._nodes.get(paths.parent_of(path))
            if parent is None:
                raise CorruptionError(f"{path} comes before its parent")
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
        self._own(path, znode.owner)

    def _node(self, path: str) -> _Node:
        node = self._nodes.get(path or paths.ROOT)
        if node is None:
            raise _NoNode
        return node

    def _insert(self, txn: FileTxn, path: str, data: bytes | None, acl: Acl, owner: int, creates: int) -> None:
        """The parent's counters are repaired even where the child is there already: the snapshot passed its creation,
        or met another session's of that name. They only rise: a record from before that must not put them back.
        """
        parent = self._node(paths.parent_of(path))
        name = paths.name_of(path)
        creates = parent.creates + 1 if creates == -1 else creates
        if creates > parent.creates:
            parent.creates, parent.pzxid = creates, txn.zxid
        if name in parent.children:
            raise _NodeExists
        parent.children[name] = None
        zxid, now = txn.zxid, txn.time_ms
        self._nodes[path] = _Node(data, acl, zxid, zxid, zxid, now, now, owner=owner)
        self._own(path, owner)
        if path.startswith(PREFIX) and path.endswith(STATS_NAME):
            self._count_quota(path[len(paths.QUOTA) : -len(STATS_NAME)])

    def _remove(self, path: str, zxid: int) -> None:
        """The parent's pzxid moves even where the child is gone already: the snapshot passed in between."""
        parent = self._node(paths.parent_of(path))
        parent.children.pop(paths.name_of(path), None)
        parent.pzxid = max(parent.pzxid, zxid)
        node = self._node(path)
        if path.startswith(PREFIX) and path.endswith(LIMITS_NAME):
            self._count_quota(path[len(paths.QUOTA) : -len(LIMITS_NAME)])  # it stays at what it is now
        del self._nodes[path]
        owned = self._owned.get(node.owner)
        if owned is not None:
            owned.pop(path, None)

    def _own(self, path: str, owner: int) -> None:
        if owner:
            self._owned.setdefault(owner, {})[path] = None

    # -- to a state of ours -----------------------------------------------------------------------------------------

    def to_machine(self, history_id: bytes) -> Machine:
        """A state of this tree, with sessions for all who own an ephemeral. `/zookeeper/config` is emptied: it tells of
        the ensemble that was left. Totals of quotas are counted anew.
        """
        machine = Machine(history_id, DataTree())
        machine.index, machine.zxid = 1, self.zxid
        for session_id, timeout_ms in self.sessions.items():
            machine.sessions[session_id] = Session(session_id, _PASSWORD, timeout_ms)
        self._count_quotas()
        pending = [paths.ROOT]
        # Level by level, so that siblings lie in the order in which their parent lists them.
        for path in pending:
            node = self._nodes[path]
            machine.tree.adopt(path, self._znode(machine, path, node))
            pending.extend(paths.join(path, name) for name in node.children)
        self._complete_system_nodes(machine)
        return machine

    def _znode(self, machine: Machine, path: str, node: _Node) -> Znode:
        owner, ttl = self._kind(node.owner)
        if owner and owner not in machine.sessions:
            machine.sessions[owner] = Session(owner, _PASSWORD, 0)
        data = b"" if path == paths.CONFIG else node.data
        znode = Znode(data, intern_acl(node.acl), node.czxid, node.ctime, owner, ttl)
        znode.mzxid, znode.pzxid, znode.mtime = node.mzxid, node.pzxid, node.mtime
        znode.version, znode.creates, znode.aversion = node.version, node.creates, node.aversion
        return znode

    def _kind(self, owner: int) -> tuple[int, int]:
        """(session, ttl) of ZooKeeper's ephemeralOwner, whose high bits mark containers and TTLs (EphemeralType).

        A server of id 255 gives sessions that look like a TTL; a session that is known is one.
        """
        if owner == 0 or owner in self.sessions:
            return owner, 0
        if owner == _CONTAINER_OWNER:
            return 0, CONTAINER_TTL
        if owner >> _TTL_KIND_SHIFT == _TTL_OWNER >> _TTL_KIND_SHIFT:
            return 0, owner & _TTL_MASK
        return owner, 0

    def _count_quotas(self) -> None:
        """Totals are not in the log; ZooKeeper counts them at each start, too."""
        for path in self._nodes:
            if path.startswith(PREFIX) and path.endswith(LIMITS_NAME):
                self._count_quota(path[len(paths.QUOTA) : -len(LIMITS_NAME)])

    def _count_quota(self, limited: str) -> None:
        stats = self._nodes.get(paths.QUOTA + limited + STATS_NAME)
        if stats is not None:
            below = [limited] if limited in self._nodes else []
            for at in below:
                below.extend(paths.join(at, name) for name in self._nodes[at].children)
            size = sum(len(self._nodes[at].data or b"") for at in below)
            stats.data = b"count=%d,bytes=%d" % (len(below), size)

    @staticmethod
    def _complete_system_nodes(machine: Machine) -> None:
        """Servers before 3.5 have no `/zookeeper/config`."""
        for path, node in DataTree.with_system_nodes().nodes.items():
            if path not in machine.tree.nodes:
                node.children = None
                node.touch()
                machine.tree.adopt(path, node)


def _paths_to_delete(body: JuteReader) -> tuple[str, ...]:
    """From 3.6 on a close of a session lists its ephemerals, if so set. A digest may follow, or stand alone, and then
    what looks like a list holds no paths.
    """
    if not body.left:
        return ()
    try:
        found = body.texts()
    except (Truncated, ValueError):
        return ()
    return found if all(path.startswith("/") for path in found) else ()


_Act = Callable[[ZooKeeperTree, FileTxn, JuteReader], None]
_ACTS: dict[int, _Act] = {
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
    int(Op.CHECK): ZooKeeperTree._nothing,
    int(Op.ERROR): ZooKeeperTree._nothing,
}
