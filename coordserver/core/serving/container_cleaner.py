"""Which containers and TTL znodes have had their day (ZooKeeper's ContainerManager).

The reaper only proposes: each record carries the mzxid it saw, and apply decides on the state as it is then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.tree import DataTree


def candidates(tree: DataTree, wall_ms: int, limits: EngineLimits) -> Iterator[Record]:
    """Records for every childless container that once had a child, or had none for `container_never_used_ms` (0: keep
    those), and for every childless TTL znode that was not set for its time to live; `container_per_check` at most.
    """
    return islice(_outlived(tree, wall_ms, limits.container_never_used_ms), limits.container_per_check)


def _outlived(tree: DataTree, wall_ms: int, never_used_ms: int) -> Iterator[Record]:
    for path in tree.reapable:
        node = tree.nodes[path]
        if node.children:
            continue
        age = wall_ms - node.mtime
        if age > node.ttl if node.ttl > 0 else node.creates > 0 or 0 < never_used_ms < age:
            yield Record(int(Op.DELETE_CONTAINER), 0, 0, 0, wall_ms, (), (path, node.mzxid))
