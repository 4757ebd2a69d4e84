"""Who leads: the leading roles' latches, followed without contending.

A contender's znode holds its URL (Druid's CuratorDruidLeaderSelector), so anybody who lists the latch knows the leader:
the lowest sequence. Its czxid is the epoch (docs: "Fenced leaders").
"""

from __future__ import annotations

from collections.abc import Sequence

from coordserver.client import Client, Leader
from coordserver.client.recipes.leader_latch import sequence_of
from coordserver.client.values import Node
from druidroles.coordination.tree_view import Take, View


async def contends(zk: Client, latch: str, epoch: int) -> bool:
    """Whether a contender of this epoch stands in a latch now. Waits while the tree cannot be reached."""
    await zk.sync()
    for name in await zk.children(latch):
        stat = await zk.exists(f"{latch}/{name}") if sequence_of(name) is not None else None
        if stat is not None and stat.czxid == epoch:
            return True
    return False


class LeaderView(View):
    """The leader of one latch, `paths.coordinator_latch` or `paths.overlord_latch`."""

    def __init__(self, zk: Client, latch: str) -> None:
        super().__init__(zk)
        self._latch = latch
        self._members: dict[int, Leader] = {}

    @property
    def leader(self) -> Leader | None:
        """Who leads now, as far as this view knows; `participant` is its URL."""
        return self._members[min(self._members)] if self._members else None

    @property
    def url(self) -> str | None:
        """The URL of the leader, None while nobody leads."""
        leader = self.leader
        return leader.participant if leader is not None else None

    async def wait_leader(self) -> Leader:
        """The leader, once there is one."""
        while True:
            seen = self.revision.value
            leader = self.leader
            if leader is not None:
                return leader
            await self.changed(seen)

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._latch, self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        sequence = sequence_of(parts[0])
        if sequence is None or len(parts) != 1:
            return
        if znode is None:
            self._members.pop(sequence, None)
        else:
            self._members[sequence] = Leader(znode.data.decode("utf-8", "replace"), znode.stat.czxid)
