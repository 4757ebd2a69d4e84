"""Quotas on subtrees, as ZooKeeper keeps them (DataTree, StatsTrack, ZooKeeperServer.checkQuota).

A quota on path P is two znodes that a client makes, `/zookeeper/quota{P}/zookeeper_limits` and `…/zookeeper_stats`.
Once the second is there the server keeps the totals of P's subtree in it: how many znodes, P among them, and how many
bytes of data. That is bookkeeping and no change: neither version nor mzxid of the stats znode moves and no watch fires.
Of several quotas above a znode the longest path counts. Soft limits are for whoever reads the totals; hard ones are
enforced where the server is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from coordserver.core.model import errors
from coordserver.core.model.paths import QUOTA
from coordserver.core.model.prefixes import Prefixes
from coordserver.core.state.znode import Znode, long, wrap64

LIMITS_NAME = "/zookeeper_limits"
STATS_NAME = "/zookeeper_stats"
PREFIX = QUOTA + "/"

Undo = list[tuple[Any, ...]]
"""What takes a change back, latest last: (function, arguments...) each."""


class Totals(NamedTuple):
    """What a limits or stats znode says; -1 where it sets no limit."""

    znodes: int = -1
    size: int = -1
    znodes_hard: int = -1
    size_hard: int = -1


_FIELDS = {"count": "znodes", "bytes": "size", "countHardLimit": "znodes_hard", "byteHardLimit": "size_hard"}


def parse(data: bytes | None) -> Totals:
    """Read `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4` (the stray `=` is ZooKeeper's). Raises ValueError.

    Numbers are Java's longs. Empty data sets no limit; null is no quota at all.
    """
    if data is None:
        raise ValueError("null")
    found: dict[str, int] = {}
    for part in data.decode("utf-8", "replace").replace(";", ",").split(","):
        if not part:
            continue
        key, equals, value = part.partition("=")
        field = _FIELDS.get(key)
        if field is None or not equals:
            raise ValueError(f"not a quota: {part!r}")
        found[field] = long(value.removesuffix("="))
    return Totals(**found)


class Quotas:
    """Which paths have a quota, over the znodes of a tree; `enforced` says whether hard limits refuse."""

    __slots__ = ("_changing", "_grow", "_nodes", "_prefixes", "enforced", "limited")

    def __init__(
        self, nodes: dict[str, Znode], grow: Callable[[int], None], changing: Callable[[str, Znode], None]
    ) -> None:
        """`changing` is told of a stats znode before it changes, `grow` by how many bytes its data does."""
        self._nodes = nodes
        self._grow = grow
        self._changing = changing
        self.limited: dict[str, None] = {}
        self._prefixes: Prefixes[str] = Prefixes()
        self.enforced = False

    def adopted(self, path: str) -> None:
        """A znode came with a snapshot, its totals with it."""
        if path.startswith(PREFIX) and path.endswith(LIMITS_NAME):
            self._limit(path[len(QUOTA) : -len(LIMITS_NAME)])

    def created(self, path: str, size: int, undo: Undo) -> None:
        """A znode was created: it may begin a quota, and it counts for the one that it is under."""
        if path.startswith(PREFIX):
            if path.endswith(LIMITS_NAME):
                self._begin(path[len(QUOTA) : -len(LIMITS_NAME)], undo)
            elif path.endswith(STATS_NAME):
                self._count(path[len(QUOTA) : -len(STATS_NAME)], undo)
        self.changed(path, 1, size, undo)

    def removed(self, path: str, size: int, undo: Undo) -> None:
        """A znode was removed."""
        if path.startswith(PREFIX) and path.endswith(LIMITS_NAME):
            limited = path[len(QUOTA) : -len(LIMITS_NAME)]
            if limited in self.limited:
                undo.append((self._limit, limited))
                self._free(limited)
        self.changed(path, -1, -size, undo)

    def changed(self, path: str, count: int, size: int, undo: Undo) -> None:
        """Add to the totals of the quota that `path` is under, if there is one and its stats znode exists."""
        limited = self.over(path)
        if limited is None or not (count or size):
            return
        stats_path = QUOTA + limited + STATS_NAME
        node = self._nodes.get(stats_path)
        if node is None:
            return
        try:
            totals = parse(node.data)
        except ValueError:
            totals = Totals(0, 0)
        self._write(stats_path, node, totals.znodes + count, totals.size + size, undo)

    def over(self, path: str) -> str | None:
        """The longest path with a quota that `path` is at or below."""
        if not self.limited:
            return None
        found = self._prefixes.along(path)
        return found[-1] if found else None

    def check(self, path: str, count: int, size: int) -> None:
        """Raise QuotaExceededError if a hard limit does not allow so much more; what cannot be read allows nothing."""
        limited = self.over(path)
        if limited is None:
            return
        limits_node = self._nodes.get(QUOTA + limited + LIMITS_NAME)
        stats_node = self._nodes.get(QUOTA + limited + STATS_NAME)
        if limits_node is None:
            return
        try:
            limits = parse(limits_node.data)
            if stats_node is None:
                return
            totals = parse(stats_node.data)
        except ValueError as fault:
            raise errors.MarshallingError(path, str(fault)) from None
        if count and -1 < limits.znodes_hard < totals.znodes + count:
            raise errors.QuotaExceededError(path, f"count: at most {limits.znodes_hard} in {limited}")
        if size and -1 < limits.size_hard < totals.size + size:
            raise errors.QuotaExceededError(path, f"bytes: at most {limits.size_hard} in {limited}")

    def _begin(self, limited: str, undo: Undo) -> None:
        if limited not in self.limited:
            undo.append((self._free, limited))
            self._limit(limited)

    def _count(self, limited: str, undo: Undo) -> None:
        """The totals of a subtree into the stats znode that was just made for it."""
        count = size = 0
        pending = [limited] if limited in self._nodes else []
        while pending:
            at = pending.pop()
            node = self._nodes[at]
            count += 1
            size += len(node.data or b"")
            pending += (f"{at}/{name}" for name in node.children or ())
        stats_path = QUOTA + limited + STATS_NAME
        self._write(stats_path, self._nodes[stats_path], count, size, undo)

    def _write(self, path: str, node: Znode, count: int, size: int, undo: Undo) -> None:
        data = b"count=%d,bytes=%d" % (wrap64(count), wrap64(size))
        # Bytes of data are put back by the change of the tree that this belongs to.
        undo.append((self._undo_write, node, node.data))
        self._changing(path, node)
        self._grow(len(data) - len(node.data or b""))
        node.data = data
        node.touch()

    def _undo_write(self, node: Znode, data: bytes | None) -> None:
        node.data = data
        node.touch()

    def _limit(self, path: str) -> None:
        self.limited[path] = None
        self._prefixes.put(path, path)

    def _free(self, path: str) -> None:
        self.limited.pop(path, None)
        self._prefixes.remove(path)
