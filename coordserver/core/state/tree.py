"""The tree of znodes: a flat dict from path to znode, each parent holding its children's names.

This module changes the tree and keeps its indexes (ephemerals by session, containers and TTL znodes, bytes of data); it
judges nothing: what may be done is decided in mutations.py before anything here is called. Every change begins with the
entry that undoes it, in the undo log of its command; the entries are run backwards. An entry says what there was, not
what was added, so that it also undoes a change that stopped halfway.

Two orders are kept: a parent comes before its children in `nodes`, and children are in `nodes` in the order in which
their parent lists them. A snapshot is therefore one walk over `nodes`.
"""

from __future__ import annotations

from coordserver.core.model import paths
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE
from coordserver.core.state.change_observer import ChangeObserver
from coordserver.core.state.descendants import Descendants
from coordserver.core.state.quotas import PREFIX as QUOTA_PREFIX
from coordserver.core.state.quotas import Quotas, Undo
from coordserver.core.state.znode import CONTAINER_TTL, Znode, wrap32


class DataTree:
    """Znodes by path, with their indexes. While a walk goes on it is told of each znode before that changes."""

    __slots__ = (
        "_asked_ephemerals",
        "_descendants",
        "data_bytes",
        "ephemerals",
        "nodes",
        "path_bytes",
        "quotas",
        "reapable",
        "walk",
    )

    def __init__(self) -> None:
        self.nodes: dict[str, Znode] = {}
        self.ephemerals: dict[int, dict[str, None]] = {}
        self.reapable: dict[str, None] = {}
        self.data_bytes = self.path_bytes = 0
        self.walk: ChangeObserver | None = None
        self._descendants: Descendants | None = None
        self._asked_ephemerals: dict[int, tuple[str, tuple[str, ...]]] = {}
        self.quotas = Quotas(self.nodes, self._grow, self._changing)

    @classmethod
    def with_system_nodes(cls) -> DataTree:
        """A fresh tree: the root and ZooKeeper's own znodes (DataTree's constructor), which count no creates."""
        tree = cls()
        for path in (paths.ROOT, paths.ZOOKEEPER, paths.QUOTA, paths.CONFIG):
            node = Znode(b"", READ_ACL_UNSAFE if path == paths.CONFIG else OPEN_ACL_UNSAFE, 0, 0)
            tree.adopt(path, node)
        tree.nodes[paths.CONFIG].aversion = -1
        return tree

    def adopt(self, path: str, node: Znode) -> None:
        """Put a znode in place without counting a create: system znodes and those of a snapshot, parents first."""
        if path != paths.ROOT:
            cut = path.rfind("/")
            parent = self.nodes[path[:cut] or paths.ROOT]
            if parent.children is None:
                parent.children = {path[cut + 1 :]: None}
            else:
                parent.children[path[cut + 1 :]] = None
            parent.touch()
        self.nodes[path] = node
        if self._descendants is not None:
            self._descendants.add(path, 1)
        self.path_bytes += len(path)
        if node.data:
            self.data_bytes += len(node.data)
        if node.owner or node.ttl:
            self._index_kind(path, node)
        if path.startswith(QUOTA_PREFIX):
            self.quotas.adopted(path)

    def insert(self, path: str, name: str, node: Znode, parent: Znode, zxid: int, undo: Undo) -> None:
        """Add a new child to `parent`. `name` is the path's last component."""
        creates, pzxid = parent.creates, parent.pzxid
        undo.append((_undo_insert, self, path, name, node, parent, creates, pzxid, self.path_bytes, self.data_bytes))
        if self.walk is not None:
            self.walk.made(node)
            self.walk.changing(paths.parent_of(path), parent)
        self.nodes[path] = node
        if self._descendants is not None:
            self._descendants.add(path, 1)
        self.path_bytes += len(path)
        children = parent.children
        if children is None:
            parent.children = {name: None}
        else:
            children[name] = None
        parent.creates += 1
        parent.pzxid = zxid
        parent.touch()
        data = node.data
        if data:
            self.data_bytes += len(data)
        if node.owner or node.ttl:
            self._index_kind(path, node)
        if self.quotas.limited or path.startswith(QUOTA_PREFIX):
            self.quotas.created(path, len(data) if data else 0, undo)

    def remove(self, path: str, node: Znode, parent: Znode, zxid: int, undo: Undo) -> None:
        """Take a childless znode out. Undone, it lies behind its siblings."""
        undo.append((_undo_remove, self, path, node, parent, parent.pzxid, self.path_bytes, self.data_bytes))
        if self.walk is not None:
            self.walk.changing(path, node)
            self.walk.changing(paths.parent_of(path), parent)
        self._take_out(path, node, parent)
        parent.pzxid = zxid
        if self.quotas.limited:
            self.quotas.removed(path, len(node.data or b""), undo)

    def set_data(self, path: str, node: Znode, data: bytes | None, zxid: int, wall_ms: int, undo: Undo) -> None:
        """New data: version, mzxid and mtime move."""
        old = node.data
        undo.append((_undo_set_data, self, node, old, node.mzxid, node.mtime, node.version, self.data_bytes))
        if self.walk is not None:
            self.walk.changing(path, node)
        self.data_bytes += (len(data) if data else 0) - (len(old) if old else 0)
        node.data = data
        node.mzxid = zxid
        node.mtime = wall_ms
        # A version that wrapped round to -1 would mean "any" to a client, so it is stepped over (ZooKeeper 3.10).
        version = node.version + 1
        node.version = -0x80000000 if version == 0x80000000 else 0 if version == -1 else version
        node.touch()
        if self.quotas.limited:
            self.quotas.changed(path, 0, len(data or b"") - len(old or b""), undo)

    def set_acl(self, path: str, node: Znode, acl: tuple[ACL, ...], undo: Undo) -> None:
        """A new ACL: aversion moves."""
        undo.append((_undo_set_acl, node, node.acl, node.aversion))
        self._changing(path, node)
        node.acl = acl
        node.aversion = wrap32(node.aversion + 1)
        node.touch()

    def children_of(self, node: Znode) -> tuple[str, ...]:
        """Names of the children, in order of creation."""
        return node.names()

    def count_below(self, path: str) -> int:
        """How many znodes lie strictly below `path`."""
        if path == paths.ROOT:
            return len(self.nodes) - 1
        if not self.nodes[path].children:
            return 0
        if self._descendants is None:
            self._descendants = Descendants(self.nodes)
        return self._descendants.of(path)

    def ephemerals_of(self, session: int, prefix: str) -> tuple[str, ...]:
        """Paths of a session's ephemerals that begin so: the very same tuple until they change, if the last to ask of
        them asked the same, so that an edge may encode it once.
        """
        asked = self._asked_ephemerals.get(session)
        if asked is None or asked[0] != prefix:
            owned = self.ephemerals.get(session, ())
            found = tuple(owned) if prefix in ("", paths.ROOT) else tuple(p for p in owned if p.startswith(prefix))
            if not owned:
                return found
            asked = self._asked_ephemerals[session] = prefix, found
        return asked[1]

    def recount(self) -> None:
        """A change stopped halfway: what is counted besides it may be wrong."""
        self._descendants = None

    def _changing(self, path: str, node: Znode) -> None:
        if self.walk is not None:
            self.walk.changing(path, node)

    def _grow(self, size: int) -> None:
        self.data_bytes += size

    def _take_out(self, path: str, node: Znode, parent: Znode) -> None:
        del self.nodes[path]
        if self._descendants is not None:
            self._descendants.add(path, -1)
        self.path_bytes -= len(path)
        children = parent.children
        if children is not None:
            del children[path[path.rfind("/") + 1 :]]
        parent.touch()
        data = node.data
        if data:
            self.data_bytes -= len(data)
        if node.owner:
            owned = self.ephemerals[node.owner]
            self._asked_ephemerals.pop(node.owner, None)
            del owned[path]
            if not owned:
                del self.ephemerals[node.owner]
        elif node.ttl:
            del self.reapable[path]

    def _index_kind(self, path: str, node: Znode) -> None:
        if node.owner:
            self.ephemerals.setdefault(node.owner, {})[path] = None
            self._asked_ephemerals.pop(node.owner, None)
        elif node.ttl:
            self.reapable[path] = None

    def forget(self, path: str, name: str, node: Znode, parent: Znode) -> None:
        """Take a znode out of wherever it is, for an undo. The bytes are left as they are."""
        if self.nodes.pop(path, None) is not None and self._descendants is not None:
            self._descendants.add(path, -1)
        if parent.children is not None:
            parent.children.pop(name, None)
        parent.touch()
        self.reapable.pop(path, None)
        owned = self.ephemerals.get(node.owner)
        if owned is not None:
            owned.pop(path, None)
            self._asked_ephemerals.pop(node.owner, None)
            if not owned:
                del self.ephemerals[node.owner]

    def check_invariants(self) -> None:
        """Raise AssertionError where indexes and tree disagree. O(n); for tests and `coord check`."""
        seen: dict[str, list[str]] = {}
        data_bytes = 0
        owned: dict[int, dict[str, None]] = {}
        reapable: dict[str, None] = {}
        for path, node in self.nodes.items():
            data_bytes += len(node.data or b"")
            if path != paths.ROOT:
                parent = paths.parent_of(path)
                _require(parent in seen, f"{path}: its parent does not precede it")
                _require(not self.nodes[parent].owner, f"{path}: its parent is ephemeral")
                seen[parent].append(paths.name_of(path))
            seen[path] = []
            if node.owner:
                owned.setdefault(node.owner, {})[path] = None
            elif node.ttl:
                reapable[path] = None
        for path, names in seen.items():
            _require(list(self.nodes[path].children or ()) == names, f"{path}: children differ")
        _require(data_bytes == self.data_bytes, "data_bytes differ")
        _require(sum(map(len, self.nodes)) == self.path_bytes, "path_bytes differ")
        _require({k: list(v) for k, v in owned.items()} == {k: list(v) for k, v in self.ephemerals.items()}, "owners")
        if self._descendants is not None:
            anew = Descendants(self.nodes)
            _require(dict(self._descendants.counts()) == dict(anew.counts()), "counts of descendants differ")
        _require(list(reapable) == list(self.reapable), "containers and TTLs differ")
        _require(all(node.ttl >= CONTAINER_TTL for node in self.nodes.values()), "ttl out of range")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def run_undo(undo: Undo) -> None:
    """Take back what the log holds, latest first."""
    while undo:
        function, *arguments = undo.pop()
        function(*arguments)


def _undo_insert(
    tree: DataTree,
    path: str,
    name: str,
    node: Znode,
    parent: Znode,
    creates: int,
    pzxid: int,
    path_bytes: int,
    data_bytes: int,
) -> None:
    tree.forget(path, name, node, parent)
    parent.creates = creates
    parent.pzxid = pzxid
    tree.path_bytes = path_bytes
    tree.data_bytes = data_bytes


def _undo_remove(
    tree: DataTree, path: str, node: Znode, parent: Znode, pzxid: int, path_bytes: int, data_bytes: int
) -> None:
    # What is still in its place is taken out first, so that every index has it last.
    tree.forget(path, paths.name_of(path), node, parent)
    tree.adopt(path, node)
    parent.pzxid = pzxid
    tree.path_bytes = path_bytes
    tree.data_bytes = data_bytes


def _undo_set_data(
    tree: DataTree, node: Znode, data: bytes | None, mzxid: int, mtime: int, version: int, data_bytes: int
) -> None:
    tree.data_bytes = data_bytes
    node.data = data
    node.mzxid = mzxid
    node.mtime = mtime
    node.version = version
    node.touch()


def _undo_set_acl(node: Znode, acl: tuple[ACL, ...], aversion: int) -> None:
    node.acl = acl
    node.aversion = aversion
    node.touch()
