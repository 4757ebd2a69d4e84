"""The Broker: it follows who serves what, shares queries out and merges the answers."""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection, Container

import attrs
import trio
from starlette.routing import BaseRoute

from druidroles.broker.answer import AnswerLimits
from druidroles.broker.candidates import CandidatesResource
from druidroles.broker.fanout import FanOut
from druidroles.broker.freshness import Freshness
from druidroles.broker.resource import BrokerResource
from druidroles.broker.served_log import ServedMemory
from druidroles.broker.server_health import ServerChoice
from druidroles.broker.tier_selector import Balancer, TierSelector, Watched
from druidroles.broker.used_segments_feed import UsedSegmentsFeed
from druidroles.broker.view import BrokerView
from druidroles.coordination.changes import Delta
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.leaders import LeaderView
from druidroles.model.segment import DataSegment
from druidroles.process import Role, RoleContext

log = logging.getLogger(__name__)

SegmentDelta = Delta[tuple[str, str], DataSegment]
DELTAS_AT_ONCE = 200  # about 2 ms of the timeline's work
FIRST_READING_S = 10.0  # for a Coordinator to say what is used; without it all that was served counts as used
NEWS_S = 0.5  # in which Routers hear that a Broker goes
QUERIES_S = 3.0  # for the queries that run when it stops


@attrs.frozen(kw_only=True)
class BrokerSettings:
    """What a Broker is told: whom it asks first, what it sees at all, and how far it follows answers."""

    tiers: TierSelector = attrs.field(factory=TierSelector)
    balancer: Balancer = Balancer.CONNECTION_COUNT
    watched: Watched = attrs.field(factory=Watched)
    answers: AnswerLimits = attrs.field(factory=AnswerLimits)


class Broker:
    """Made by `build`."""

    def __init__(self, context: RoleContext, settings: BrokerSettings) -> None:
        self._context = context
        self._watched = settings.watched
        self._memory = ServedMemory(context.settings.data_dir, settings.watched.describe(), lambda: self._view)
        self._view = BrokerView(self._memory.note)
        self._inventory = ServerInventory(context.zk, context.paths)
        self._coordinators = LeaderView(context.zk, context.paths.coordinator_latch)
        self._used = UsedSegmentsFeed(context.http, self._coordinators, lambda: self._view.mark, self._set_used)
        self._fan_out = FanOut(
            context.http,
            self._view,
            self._inventory,
            self._used.refresh,
            choice=ServerChoice(tiers=settings.tiers, balancer=settings.balancer),
            metrics=context.metrics,
            limits=settings.answers,
        )
        self._initialized = False
        self._freshness = Freshness(context.zk, self._inventory)
        self._resource = BrokerResource(
            self._fan_out,
            self._view,
            lambda: self._initialized,
            context.host_port,
            metrics=context.metrics,
            stale_s=lambda: self._freshness.stale_s,
        )
        self._candidates = CandidatesResource(self._view, self._inventory, self._resource.need_view)

    def routes(self) -> list[BaseRoute]:
        """Queries; 503 until the view is complete."""
        return [*self._candidates.routes(), *self._resource.routes()]

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
                await self._remember()
                nursery.start_soon(self._used.follow_bumps, self._context.zk, self._context.paths)
                with self._context.metrics.timer("init/serverview/time", "how long the first whole view took").time():
                    await self._inventory.wait_synced()
                    seen = self._inventory.revision.value
                    await self._take_deltas()
                    await self._settle()
                gc.freeze()  # what is known lives long and has no cycles: no collection need go through it again
                nursery.start_soon(self._memory.run)
                nursery.start_soon(self._freshness.run)
                self._initialized = True
                task_status.started()
                while True:
                    seen = await self._inventory.changed(seen)
                    await self._take_deltas()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + NEWS_S + QUERIES_S):
                await trio.sleep(NEWS_S if self._initialized else 0)
                await self._resource.wait_drained()

    async def _remember(self) -> None:
        segments = await self._memory.read()
        for at in range(0, len(segments), DELTAS_AT_ONCE):
            self._view.remember(segments[at : at + DELTAS_AT_ONCE])
            await trio.lowlevel.checkpoint()

    async def _settle(self) -> None:
        """Find out what is missing of what a predecessor knew, and whether that is used still."""
        more = True
        while more:
            more = self._view.settle(DELTAS_AT_ONCE)
            await trio.lowlevel.checkpoint()
        if self._view.unserved:
            with trio.move_on_after(FIRST_READING_S):
                await self._used.refresh()
        if self._view.unserved:
            log.warning("%d segments that were served once are served nowhere", len(self._view.unserved))

    async def _take_deltas(self) -> None:
        """Bring the view up to date, some segments at a time: all that came first, then what went."""
        changed = self._inventory.server_deltas.take()
        deltas = self._inventory.segment_deltas.take()
        for server in changed:
            self._fan_out.choice.worked(server.key)
            if server.old is not None and server.new is not None:
                deltas += self._turned(server.key, self._watched.server(server.old), self._watched.server(server.new))
        # Taken as what it is now, before others have their turn and the server may go.
        hidden = {name for name, server in self._inventory.servers.items() if not self._watched.server(server)}
        gone: list[SegmentDelta] = []
        for at in range(0, len(deltas), DELTAS_AT_ONCE):
            some = deltas[at : at + DELTAS_AT_ONCE]
            gone += (delta for delta in some if delta.new is None)
            self._view.apply(delta for delta in some if self._sees(delta, hidden))
            await trio.lowlevel.checkpoint()
        for at in range(0, len(gone), DELTAS_AT_ONCE):
            self._view.apply(gone[at : at + DELTAS_AT_ONCE])
            await trio.lowlevel.checkpoint()

    def _sees(self, delta: SegmentDelta, hidden: Container[str]) -> bool:
        """Whether a segment comes that is to be seen. What goes, goes in any case: its server may have changed."""
        return delta.new is not None and delta.key[0] not in hidden and self._watched.data_source(delta.new.data_source)

    def _turned(self, server: str, before: bool, after: bool) -> list[SegmentDelta]:
        """What a server's change of tier means for its segments, where it comes into sight or goes out of it."""
        if before == after:
            return []
        segments = [s for s in self._inventory.segments_of(server).values() if self._watched.data_source(s.data_source)]
        return [Delta((server, s.id), s if before else None, s if after else None) for s in segments]

    async def _set_used(self, ids: Collection[str], mark: int) -> None:
        self._view.set_used(ids, mark)
        more = True
        while more:
            more = self._view.forget_unused(DELTAS_AT_ONCE)
            await trio.lowlevel.checkpoint()


def build(context: RoleContext, settings: BrokerSettings) -> Role:
    """A Broker."""
    return Broker(context, settings)
