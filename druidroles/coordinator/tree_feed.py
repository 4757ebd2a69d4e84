"""From what the tree tells of servers and their segments to the Coordinator's picture of the cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.status import StatusView
from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.loading.load_queue_peon import LoadQueuePeon
from druidroles.coordinator.planning.planner import release_unplaced
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.server import DruidServerMetadata

log = logging.getLogger(__name__)


class TreeFeed:
    """Keeps a term's `PlanningState` as the inventory tells. Synchronous: a group of changes is entered whole."""

    def __init__(
        self, view: PlanningState, inventory: ServerInventory, statuses: StatusView, executor: LoadQueuePeon
    ) -> None:
        self._view = view
        self._inventory = inventory
        self._statuses = statuses
        self._executor = executor
        self._decommissioning: frozenset[str] = frozenset()

    def decommission(self, names: Iterable[str]) -> set[str]:
        """These servers, and no others, are to be emptied. Returns the tiers of those for which that is new."""
        self._decommissioning = frozenset(names)
        tiers: set[str] = set()
        for server in self._view.cluster.servers.values():
            wanted = server.name in self._decommissioning
            if server.decommissioning is not wanted:
                server.decommissioning = wanted
                tiers.add(server.tier)
        for tier in tiers:
            release_unplaced(self._view, tier)
        return tiers

    def build(self, now_ms: int) -> None:
        """Enter everything there is: the beginning of a term."""
        self._inventory.server_deltas.take()
        self._inventory.segment_deltas.take()
        for name, metadata in self._inventory.servers.items():
            server = self._add(metadata)
            for segment in self._inventory.segments_of(name).values():
                self._view.cluster.add_served(server, segment, now_ms)
        for server in self._view.cluster.servers.values():
            self._executor.adopt(server)

    def _add(self, metadata: DruidServerMetadata) -> Server:
        server = self._view.cluster.add_server(_server(metadata))
        server.decommissioning = server.name in self._decommissioning
        return server

    def _is_stopping(self, name: str) -> bool:
        return bool(self._statuses.statuses.get(name, {}).get("stopping"))

    def follow(self, now_ms: int) -> set[str]:
        """Enter what has changed. Returns the tiers to which or from which a server went."""
        changed: set[str] = set()
        arrived: list[Server] = []
        tiers: dict[str, None] = {}  # those with new room
        for server_delta in self._inventory.server_deltas.take():
            if server_delta.old is not None:
                changed.add(server_delta.old.tier)
            if server_delta.new is None:
                self._server_left(server_delta.key, now_ms)
                continue
            server = self._add(server_delta.new)
            tiers[server.tier] = None
            changed.add(server.tier)
            if server_delta.old is None:
                arrived.append(server)
        for segment_delta in self._inventory.segment_deltas.take():
            name, segment_id = segment_delta.key
            holder = self._view.cluster.servers.get(name)
            if holder is None:
                continue
            if segment_delta.new is not None:
                self._view.cluster.add_served(holder, segment_delta.new, now_ms)
                self._executor.served(name, segment_id)
            else:
                self._view.cluster.remove_served(holder, segment_id)
                self._executor.unserved(name, segment_id)
            tiers[holder.tier] = None
        for server in arrived:
            self._server_came(server, now_ms)
        for server in self._view.cluster.servers.values():
            server.stopping = self._is_stopping(server.name)
        for tier in tiers:
            release_unplaced(self._view, tier)
        return changed

    def _server_came(self, server: Server, now_ms: int) -> None:
        log.info("%s %s came to tier %s", server.type, server.name, server.tier)
        self._executor.adopt(server)
        for segment_id in self._view.damping.came(server.name, now_ms):
            self._view.cluster.mark(segment_id)

    def _server_left(self, name: str, now_ms: int) -> None:
        server = self._view.cluster.servers.get(name)
        if server is None:
            return
        log.info("%s %s left tier %s with %d segments", server.type, name, server.tier, len(server.served))
        self._executor.server_left(name)
        self._view.failures.forget_server(name)
        served = self._view.cluster.remove_server(name)
        if not server.replicates:
            return
        remaining = len(list(self._view.cluster.tier(server.tier)))
        stopping = server.stopping or self._is_stopping(name)
        if self._view.damping.left(name, server.tier, served, now_ms, stopping=stopping, remaining=remaining):
            log.warning("a large part of tier %s left together: loading first copies only for now", server.tier)


def _server(metadata: DruidServerMetadata) -> Server:
    return Server(
        metadata.name, metadata.tier, type=metadata.type, priority=metadata.priority, max_size=metadata.max_size
    )
