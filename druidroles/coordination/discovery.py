"""Who is there: the processes of each role, announced below `internal-discovery` and followed there.

Druid's CuratorDruidNodeAnnouncer and CuratorDruidNodeDiscoveryProvider. An announcement heals itself when its session
is lost, and replaces what a predecessor at the same address left behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from coordserver.client import Announcement, Client, announced
from coordserver.client.values import Node
from druidroles.coordination.changes import Deltas
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps_gz, loads
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.server import DiscoveryDruidNode, NodeRole


def announce_node(zk: Client, paths: DruidPaths, node: DiscoveryDruidNode) -> AbstractAsyncContextManager[Announcement]:
    """Announce a process in one role for as long as the block lasts."""
    return announced(zk, paths.discovery_node(node.role, node.name), dumps_gz(node.to_json()))


@asynccontextmanager
async def discovered_node(zk: Client, paths: DruidPaths, node: DiscoveryDruidNode) -> AsyncIterator[Callable[[], bool]]:
    """Announce a process for as long as the block lasts, and see whether it is there to be seen.

    The answer comes from the tree, not from what was sent to it (Druid's selfDiscovered). While the tree cannot be
    reached it stays what it was: the others, too, go by what they saw last.
    """
    path = paths.discovery_node(node.role, node.name)
    async with announce_node(zk, paths, node), zk.cache(path) as cache:
        await cache.wait_synced()

        def sees_itself() -> bool:
            found = cache.get(path)
            return found is not None and found.stat.ephemeral_owner == zk.session_id

        yield sees_itself


class DiscoveryView(View):
    """The announced processes of some roles. `deltas` has one consumer; keys are (role, host:port)."""

    def __init__(self, zk: Client, paths: DruidPaths, roles: Iterable[NodeRole]) -> None:
        super().__init__(zk)
        self.deltas: Deltas[tuple[NodeRole, str], DiscoveryDruidNode] = Deltas()
        self._paths = paths
        self._nodes: dict[NodeRole, dict[str, DiscoveryDruidNode]] = {role: {} for role in roles}

    def nodes(self, role: NodeRole) -> list[DiscoveryDruidNode]:
        """The processes of a role, ordered by name."""
        return [node for _, node in sorted(self._nodes[role].items())]

    def node(self, role: NodeRole, name: str) -> DiscoveryDruidNode | None:
        """The process of a role at host:port."""
        return self._nodes[role].get(name)

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._paths.discovery(role), _Taker(self, role)) for role in self._nodes]

    def take(self, role: NodeRole, parts: tuple[str, ...], znode: Node | None) -> None:
        """One znode came, changed or went; garbage counts as gone."""
        if len(parts) != 1:
            return
        name = parts[0]
        path = self._paths.discovery_node(role, name)
        new = decoded(path, znode, lambda data: DiscoveryDruidNode.from_json(loads(data)))
        old = self._nodes[role].pop(name, None)
        if new is not None:
            self._nodes[role][name] = new
        self.deltas.put((role, name), old, new)


class _Taker:
    """`DiscoveryView.take` for one role."""

    def __init__(self, view: DiscoveryView, role: NodeRole) -> None:
        self._view = view
        self._role = role

    def __call__(self, parts: tuple[str, ...], znode: Node | None) -> None:
        self._view.take(self._role, parts, znode)
