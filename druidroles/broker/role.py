"""The Broker: it follows who serves what, shares queries out and merges the answers."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import trio
from starlette.routing import BaseRoute

from druidroles.broker.fanout import FanOut
from druidroles.broker.resource import BrokerResource
from druidroles.broker.used import UsedSegments
from druidroles.broker.view import BrokerView
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.leaders import LeaderView
from druidroles.process import Role, RoleContext

DELTAS_AT_ONCE = 200  # about 2 ms of the timeline's work
NEWS_S = 0.5  # in which Routers hear that a Broker goes
QUERIES_S = 3.0  # for the queries that run when it stops


@attrs.frozen
class BrokerSettings:
    """A Broker has none of its own yet."""


class Broker:
    """Made by `build`."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._view = BrokerView()
        self._inventory = ServerInventory(context.zk, context.paths)
        self._coordinators = LeaderView(context.zk, context.paths.coordinator_latch)
        self._used = UsedSegments(context.http, self._coordinators, lambda: self._view.mark, self._set_used)
        self._fan_out = FanOut(context.http, self._view, self._inventory, self._used.refresh)
        self._initialized = False
        self._resource = BrokerResource(self._fan_out, self._view, lambda: self._initialized, context.host_port)

    def routes(self) -> list[BaseRoute]:
        """Queries; 503 until the view is complete."""
        return self._resource.routes()

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """Nothing beyond being a Broker."""
        return {}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Follow the tree and the used segments; started once every announced segment is known.

        When cancelled it goes on answering, from what it knows, while the news spreads that it goes.
        """
        try:
            async with self._coordinators, self._inventory, trio.open_nursery() as nursery:
                nursery.start_soon(self._used.run)
                nursery.start_soon(self._used.follow_bumps, self._context.zk, self._context.paths)
                with self._context.metrics.timer("init/serverview/time", "how long the first whole view took").time():
                    await self._inventory.wait_synced()
                    seen = self._inventory.revision.value
                    await self._take_deltas()
                self._initialized = True
                task_status.started()
                while True:
                    seen = await self._inventory.changed(seen)
                    await self._take_deltas()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + NEWS_S + QUERIES_S):
                await trio.sleep(NEWS_S if self._initialized else 0)
                await self._resource.wait_drained()

    async def _take_deltas(self) -> None:
        """Bring the view up to date, some segments at a time: all that came first, then what went."""
        for server in self._inventory.server_deltas.take():
            self._fan_out.choice.worked(server.key)
        deltas = sorted(self._inventory.segment_deltas.take(), key=lambda delta: delta.new is None)
        for at in range(0, len(deltas), DELTAS_AT_ONCE):
            self._view.apply(deltas[at : at + DELTAS_AT_ONCE])
            await trio.lowlevel.checkpoint()

    async def _set_used(self, ids: Collection[str], mark: int) -> None:
        self._view.set_used(ids, mark)
        more = True
        while more:
            more = self._view.forget_unused(DELTAS_AT_ONCE)
            await trio.lowlevel.checkpoint()


def build(context: RoleContext, settings: BrokerSettings) -> Role:
    """A Broker."""
    return Broker(context)
