"""What a znode keeps of what it was asked for."""

from __future__ import annotations

from coordserver.core.model.acl import OPEN_ACL_UNSAFE
from coordserver.core.state.quotas import Undo
from coordserver.core.state.tree import DataTree, run_undo
from coordserver.core.state.znode import Znode


def _child() -> Znode:
    return Znode(b"", OPEN_ACL_UNSAFE, 1, 1)


def test_names_are_the_same_tuple_until_the_children_change() -> None:
    tree = DataTree.with_system_nodes()
    root = tree.nodes["/"]
    before = tree.children_of(root)
    assert before == ("zookeeper",)
    assert tree.children_of(root) is before
    undo: Undo = []
    tree.insert("/a", "a", _child(), root, 1, undo)
    assert tree.children_of(root) == ("zookeeper", "a")
    run_undo(undo)
    assert tree.children_of(root) == ("zookeeper",)
    tree.insert("/b", "b", _child(), root, 2, [])
    assert tree.children_of(root) == ("zookeeper", "b")
    tree.remove("/b", tree.nodes["/b"], root, 3, undo)
    assert tree.children_of(root) == ("zookeeper",)
    run_undo(undo)
    assert tree.children_of(root) == ("zookeeper", "b")
