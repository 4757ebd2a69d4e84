"""A tree as a list of entries, parents first. Snapshots, JSON lines and transfers share this form."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from coordserver.core.model import paths
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE
from coordserver.core.model.operations import CreateMode
from coordserver.core.state.machine import Machine
from coordserver.core.state.znode import CONTAINER_TTL, Znode


@attrs.frozen
class Entry:
    """A znode without its Stat.

    `owner` is the session of an ephemeral, and 0 for other znodes. `ttl_ms` is 0 for a znode without a TTL.
    """

    path: str
    data: bytes | None
    acl: tuple[ACL, ...] = OPEN_ACL_UNSAFE
    owner: int = 0
    container: bool = False
    ttl_ms: int = 0

    @property
    def mode(self) -> CreateMode:
        """The mode with which the znode must be created."""
        if self.owner:
            return CreateMode.EPHEMERAL
        if self.container:
            return CreateMode.CONTAINER
        return CreateMode.PERSISTENT_WITH_TTL if self.ttl_ms else CreateMode.PERSISTENT


def entry_of(path: str, znode: Znode) -> Entry:
    """Return the entry of a znode."""
    container = znode.ttl == CONTAINER_TTL
    return Entry(path, znode.data, znode.acl, znode.owner, container, 0 if container else znode.ttl)


def entries_of(state: Machine, root: str = paths.ROOT) -> Iterator[Entry]:
    """Yield the entries of `root` and of all znodes below it. Raises LookupError if `root` does not exist."""
    if root not in state.tree.nodes:
        raise LookupError(f"{root}: not in the snapshot")
    for path, znode in state.tree.nodes.items():
        if paths.is_within(path, root):
            yield entry_of(path, znode)
