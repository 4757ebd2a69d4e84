"""Reads of committed state. Each returns the reply's fields, or raises a KeeperError; none changes anything.

No path is validated: one that is not legal is in no tree. The empty path is the root, as in ZooKeeper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coordserver.core.model import errors
from coordserver.core.model.access import allowed, masked
from coordserver.core.model.acl import ACL, ADMIN, OPEN_ACL_UNSAFE, READ
from coordserver.core.model.operations import Op
from coordserver.core.model.paths import ROOT
from coordserver.core.model.stat import Stat
from coordserver.core.state.tree import DataTree
from coordserver.core.state.znode import Znode

Identities = tuple[tuple[str, str], ...]


def _readable(tree: DataTree, path: str, identities: Identities, permission: int = READ) -> Znode:
    node = tree.nodes.get(path or ROOT)
    if node is None:
        raise errors.NoNodeError(path)
    if node.acl is not OPEN_ACL_UNSAFE and not allowed(node.acl, permission, identities):
        raise errors.NoAuthError(path)
    return node


def exists(tree: DataTree, arguments: Sequence[Any], identities: Identities) -> tuple[Stat]:
    """(path, ...) -> (stat,). Needs READ, as since ZooKeeper 3.9.2."""
    path = arguments[0]
    if "\0" in path:
        raise errors.BadArgumentsError(path)
    return (_readable(tree, path, identities).stat(),)


def get_data(tree: DataTree, arguments: Sequence[Any], identities: Identities) -> tuple[bytes | None, Stat]:
    """(path, ...) -> (data, stat)."""
    path = arguments[0]
    node = tree.nodes.get(path or ROOT)
    if node is None:
        raise errors.NoNodeError(path)
    if node.acl is not OPEN_ACL_UNSAFE and not allowed(node.acl, READ, identities):
        raise errors.NoAuthError(path)
    return node.data, node.stat()


def get_children2(tree: DataTree, arguments: Sequence[Any], identities: Identities) -> tuple[tuple[str, ...], Stat]:
    """(path, ...) -> (children, stat). In order of creation; clients must not rely on any order."""
    node = _readable(tree, arguments[0], identities)
    return tree.children_of(node), node.stat()


def get_acl(tree: DataTree, arguments: Sequence[Any], identities: Identities) -> tuple[tuple[ACL, ...], Stat]:
    """(path,) -> (acl, stat). Needs READ or ADMIN; without ADMIN digests are masked."""
    node = _readable(tree, arguments[0], identities, READ | ADMIN)
    return masked(node.acl, identities), node.stat()


def get_all_children_number(tree: DataTree, arguments: Sequence[Any], identities: Identities) -> tuple[int]:
    """(path,) -> (count of all znodes below,). Of the empty path ZooKeeper counts the root among them."""
    path = arguments[0]
    _readable(tree, path, identities)
    return (tree.count_below(path) if path else tree.count_below(ROOT) + 1,)


def get_ephemerals(tree: DataTree, arguments: Sequence[Any], session: int) -> tuple[tuple[str, ...]]:
    """(prefix,) -> (paths of the session's ephemerals that begin so,)."""
    prefix = arguments[0]
    return (tree.ephemerals_of(session, prefix),)


Read = Callable[[DataTree, Sequence[Any], Identities], tuple[Any, ...]]

READS: dict[int, Read] = {
    int(Op.EXISTS): exists,
    int(Op.GET_DATA): get_data,
    int(Op.GET_CHILDREN): get_children2,
    int(Op.GET_CHILDREN2): get_children2,
    int(Op.GET_ACL): get_acl,
    int(Op.GET_ALL_CHILDREN_NUMBER): get_all_children_number,
}


CHILD_BYTES = 48
"""What a name, or an entry of an ACL, takes in an answer, about."""

PART_BYTES = 64
"""What a part of a request counts at least, because it takes time."""


def answer_bytes(tree: DataTree, op: int, arguments: Sequence[Any], session: int) -> int:
    """About how long the answer to a checked read would be now; 0 where it is short."""
    if op == Op.GET_DATA:
        node = tree.nodes.get(arguments[0] or ROOT)
        return len(node.data) if node is not None and node.data else 0
    if op in (Op.GET_CHILDREN, Op.GET_CHILDREN2):
        node = tree.nodes.get(arguments[0] or ROOT)
        return len(node.children) * CHILD_BYTES if node is not None and node.children else 0
    if op == Op.MULTI_READ:
        return sum(PART_BYTES + answer_bytes(tree, part[0], part[1:], session) for part in arguments[0])
    if op in (Op.SET_WATCHES, Op.SET_WATCHES2):
        return PART_BYTES * sum(len(paths) for paths in arguments[1:6])
    if op == Op.GET_EPHEMERALS:
        return len(tree.ephemerals.get(session, ())) * CHILD_BYTES
    if op == Op.GET_ACL:
        node = tree.nodes.get(arguments[0] or ROOT)
        return len(node.acl) * CHILD_BYTES if node is not None else 0
    return 0
