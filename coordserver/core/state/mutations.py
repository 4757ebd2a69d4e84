"""Writes on the tree: each checks in ZooKeeper's order of precedence, then changes, and says what happened.

The order of the checks is that of PrepRequestProcessor.pRequest2Txn, from the point where the state is needed; what can
be judged without it was judged by prep.py. The first check that fails raises a KeeperError, and nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordserver.core.model import errors
from coordserver.core.model.access import allowed, intern_acl
from coordserver.core.model.acl import ACL, ADMIN, CREATE, DELETE, OPEN_ACL_UNSAFE, READ, WRITE
from coordserver.core.model.operations import EventKind, Op
from coordserver.core.model.paths import ROOT, is_valid_name
from coordserver.core.model.stat import Stat
from coordserver.core.state.quotas import Undo
from coordserver.core.state.tree import DataTree
from coordserver.core.state.znode import CONTAINER_TTL, Znode

MAX_SEQUENCE = 0x7FFFFFFF
"""The last number that a sequential name can carry."""

Event = tuple[int, str, tuple[ACL, ...], tuple[ACL, ...] | None]
"""(kind, path, ACL of the znode, ACL of its parent): created, deleted or data changed.

That the parent's children changed follows from the first two, and its ACL is there to judge who may hear of it.
"""

_new = tuple.__new__
_SEQUENTIAL = frozenset({2, 3, 6, 7})
_CONTAINER = frozenset({4, 7})
_EPHEMERAL = frozenset({1, 3})
_CREATED = int(EventKind.CREATED)
_DELETED = int(EventKind.DELETED)
_DATA_CHANGED = int(EventKind.DATA_CHANGED)


class Change:
    """What one command brings along: its zxid, time and author. It gathers events, and what undoes its effect."""

    __slots__ = ("events", "identities", "session", "undo", "wall_ms", "zxid")

    def __init__(self, zxid: int, wall_ms: int, session: int, identities: tuple[tuple[str, str], ...]) -> None:
        self.zxid = zxid
        self.wall_ms = wall_ms
        self.session = session
        self.identities = identities
        self.undo: Undo = []
        self.events: list[Event] = []


def create(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> tuple[str, Stat]:
    """(path, data, acl, mode, ttl_ms) -> (path, stat). A sequential name takes the parent's number of creates."""
    path, data, acl, mode, ttl_ms = arguments
    cut = path.rfind("/")
    parent_path = path[:cut] or ROOT
    nodes = tree.nodes
    parent = nodes.get(parent_path)
    if parent is None:
        raise errors.NoNodeError(parent_path)
    parent_acl = parent.acl
    if parent_acl is not OPEN_ACL_UNSAFE and not allowed(parent_acl, CREATE, change.identities):
        raise errors.NoAuthError(parent_path)
    if mode in _SEQUENTIAL:
        if parent.creates > MAX_SEQUENCE:
            raise errors.SequenceOverflowError(parent_path)
        path = f"{path}{parent.creates:010d}"
    name = path[cut + 1 :]
    # With a cut of 1 the parent is the root only where the path begins with two slashes.
    if (cut == 1 or not is_valid_name(name)) and path != ROOT:
        raise errors.BadArgumentsError(path)
    if path in nodes:
        raise errors.NodeExistsError(path)
    if parent.owner:
        raise errors.NoChildrenForEphemeralsError(parent_path)
    if tree.quotas.enforced:
        tree.quotas.check(path, 1, len(data or b""))
    zxid, wall_ms = change.zxid, change.wall_ms
    owner = change.session if mode in _EPHEMERAL else 0
    acl = OPEN_ACL_UNSAFE if acl is None else intern_acl(acl)
    node = Znode(data, acl, zxid, wall_ms, owner, CONTAINER_TTL if mode in _CONTAINER else ttl_ms)
    tree.insert(path, name, node, parent, zxid, change.undo)
    change.events.append((_CREATED, path, acl, parent_acl))
    # What node.stat() would say, which then would have to be kept for each znode.
    stat = _new(Stat, (zxid, zxid, wall_ms, wall_ms, 0, 0, 0, owner, len(data) if data else 0, 0, zxid))
    return path, stat


def delete(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(path, version) -> (). The right is asked of the parent; the znode's own ACL does not protect it."""
    path, version = arguments
    parent_path = path[: path.rfind("/")] or ROOT
    parent = tree.nodes.get(parent_path)
    if parent is None:
        raise errors.NoNodeError(parent_path)
    if parent.acl is not OPEN_ACL_UNSAFE and not allowed(parent.acl, DELETE, change.identities):
        raise errors.NoAuthError(parent_path)
    node = tree.nodes.get(path)
    if node is None:
        raise errors.NoNodeError(path)
    if version not in (-1, node.version):
        raise errors.BadVersionError(path)
    if node.children:
        raise errors.NotEmptyError(path)
    tree.remove(path, node, parent, change.zxid, change.undo)
    change.events.append((_DELETED, path, node.acl, parent.acl))
    return ()


def set_data(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> tuple[Stat]:
    """(path, data, version) -> (stat,)."""
    path, data, version = arguments
    node = tree.nodes.get(path)
    if node is None:
        raise errors.NoNodeError(path)
    acl = node.acl
    if acl is not OPEN_ACL_UNSAFE and not allowed(acl, WRITE, change.identities):
        raise errors.NoAuthError(path)
    if tree.quotas.enforced:
        tree.quotas.check(path, 0, len(data or b"") - len(node.data or b""))
    if version not in (-1, node.version):
        raise errors.BadVersionError(path)
    tree.set_data(path, node, data, change.zxid, change.wall_ms, change.undo)
    change.events.append((_DATA_CHANGED, path, acl, None))
    return (node.stat(),)


def set_acl(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> tuple[Stat]:
    """(path, acl, aversion) -> (stat,). Only aversion moves, and no watch fires."""
    path, acl, version = arguments
    node = tree.nodes.get(path)
    if node is None:
        raise errors.NoNodeError(path)
    if node.acl is not OPEN_ACL_UNSAFE and not allowed(node.acl, ADMIN, change.identities):
        raise errors.NoAuthError(path)
    if version not in (-1, node.aversion):
        raise errors.BadVersionError(path)
    tree.set_acl(path, node, intern_acl(acl), change.undo)
    return (node.stat(),)


def check(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(path, version) -> (), in a multi: the znode exists and has that version."""
    path, version = arguments
    node = tree.nodes.get(path)
    if node is None:
        raise errors.NoNodeError(path)
    if node.acl is not OPEN_ACL_UNSAFE and not allowed(node.acl, READ, change.identities):
        raise errors.NoAuthError(path)
    if version not in (-1, node.version):
        raise errors.BadVersionError(path)
    return ()


def delete_container(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(path, mzxid) -> (): the reaper's delete of an empty container or an outlived TTL znode, decided now.

    The mzxid says which state of the znode the reaper saw: a znode set or made anew since then stays.
    """
    path, mzxid = arguments
    node = tree.nodes.get(path)
    if node is None:
        raise errors.NoNodeError(path)
    if node.children:
        raise errors.NotEmptyError(path)
    if not node.ttl or node.mzxid != mzxid:
        raise errors.BadVersionError(path)
    if node.ttl > 0 and change.wall_ms - node.mtime <= node.ttl:
        raise errors.BadVersionError(path, "not outlived")
    parent = tree.nodes[path[: path.rfind("/")] or ROOT]
    tree.remove(path, node, parent, change.zxid, change.undo)
    change.events.append((_DELETED, path, node.acl, parent.acl))
    return ()


Mutation = Callable[[DataTree, Change, tuple[Any, ...]], tuple[Any, ...]]

MUTATIONS: dict[int, Mutation] = {
    int(Op.CREATE): create,
    int(Op.DELETE): delete,
    int(Op.SET_DATA): set_data,
    int(Op.SET_ACL): set_acl,
    int(Op.DELETE_CONTAINER): delete_container,
}

IN_MULTI: dict[int, Mutation] = {
    int(Op.CREATE): create,
    int(Op.DELETE): delete,
    int(Op.SET_DATA): set_data,
    int(Op.CHECK): check,
}
