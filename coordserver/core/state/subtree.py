"""Deletions that grow with the tree: a session's ephemerals, and a whole subtree a part at a time.

Each is a generator that yields after so many steps, and returns the result: whoever applies a record at once runs it
through, whoever serves sockets meanwhile takes it step by step (slices.py). Both come to the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from coordserver.core.model import errors
from coordserver.core.model.access import allowed
from coordserver.core.model.acl import DELETE, OPEN_ACL_UNSAFE
from coordserver.core.model.operations import EventKind
from coordserver.core.model.paths import parent_of
from coordserver.core.state.mutations import Change
from coordserver.core.state.tree import DataTree
from coordserver.core.state.znode import Znode

STEPS = 250
"""Znodes looked at or deleted between two yields: below 2 ms of work."""

Steps = Generator[None, None, tuple[Any, ...]]

_DELETED = int(EventKind.DELETED)


def delete_ephemerals(tree: DataTree, change: Change) -> Steps:
    """Remove all ephemerals of the change's session, in order of their creation."""
    yield from _delete(tree, change, tuple(tree.ephemerals.get(change.session, ())))
    return ()


def delete_tree(tree: DataTree, change: Change, arguments: tuple[Any, ...]) -> Steps:
    """(path, limit) -> (deleted, finished): delete up to `limit` znodes of a subtree, children first, its root last.

    Needs DELETE on the parent of each. Where it is missing nothing at all is deleted.
    """
    path, limit = arguments
    root, parent_path = tree.nodes.get(path), parent_of(path)
    if root is None:
        raise errors.NoNodeError(path)
    _check_right(change, parent_path, tree.nodes[parent_path])
    doomed = yield from _first_leaves(tree, change, path, root, limit)
    yield from _delete(tree, change, tuple(doomed))
    return len(doomed), doomed[-1] == path


def run_through(steps: Steps) -> tuple[Any, ...]:
    """All at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: tuple[Any, ...] = end.value
            return result


def _first_leaves(
    tree: DataTree, change: Change, path: str, root: Znode, limit: int
) -> Generator[None, None, list[str]]:
    """The first `limit` paths of the subtree in an order in which each is a leaf when its turn comes."""
    nodes = tree.nodes
    found: list[str] = []
    way: list[tuple[str, Iterator[str]]] = []
    at: str | None = path
    node = root
    looked = 0
    while len(found) < limit:
        if at is not None:
            if node.children:
                _check_right(change, at, node)
                way.append((at, iter(node.children)))
            else:
                found.append(at)
            at = None
        elif way:
            above, names = way[-1]
            name = next(names, None)
            if name is None:
                way.pop()
                found.append(above)
            else:
                at = f"{above}/{name}"
                node = nodes[at]
                looked += 1
                if looked % STEPS == 0:
                    yield
        else:
            break
    return found


def _check_right(change: Change, path: str, node: Znode) -> None:
    if node.acl is not OPEN_ACL_UNSAFE and not allowed(node.acl, DELETE, change.identities):
        raise errors.NoAuthError(path)


def _delete(tree: DataTree, change: Change, doomed: tuple[str, ...]) -> Generator[None, None, None]:
    nodes = tree.nodes
    for number, path in enumerate(doomed, 1):
        node, parent = nodes[path], nodes[parent_of(path)]
        tree.remove(path, node, parent, change.zxid, change.undo)
        change.events.append((_DELETED, path, node.acl, parent.acl))
        if number % STEPS == 0:
            yield
