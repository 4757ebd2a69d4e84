"""The Overlord: contends for the latch, and while it leads runs the tasks of the cluster.

A term begins with the fence: the epoch is raised in the metadata store before anything is read, so that from there on
no predecessor can change what is read. Then the tree is read whole, then the store.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial

import attrs
import httpx2
import trio
from starlette.routing import BaseRoute

from coordserver.client import LeaderLatch, Term
from druidroles.coordination.leaders import LeaderView, contends
from druidroles.coordination.status import StatusAnnouncer, announced_status
from druidroles.coordination.task_queue import TaskQueue, TaskTree
from druidroles.errors import first_leaf
from druidroles.leadership.epochs import EpochGuard
from druidroles.leadership.term import GivenUp, begin_term
from druidroles.metadata import (
    LeaderEpoch,
    MetadataError,
    MetadataLocation,
    MetadataStore,
    open_store,
)
from druidroles.metadata.unreadable import UNREADABLE
from druidroles.model.server import NodeRole
from druidroles.overlord.api.tasks import OverlordResources, wall_ms
from druidroles.overlord.counts import Counts
from druidroles.overlord.metrics import show_leader
from druidroles.overlord.planning.blacklist import BlacklistRule
from druidroles.overlord.planning.select import STRATEGIES
from druidroles.overlord.planning.values import QueueTimeouts
from druidroles.overlord.term import OverlordTerm, OverlordTermSettings
from druidroles.process import Role, RoleContext, StartError

log = logging.getLogger(__name__)

STORE_ROLE = "overlord"  # the role's name in the store's table of epochs
_LEADER_S = 5.0  # READY waits this long for the cluster to have a leader
_TELL_S = 0.5  # between two looks at the queue for the status in the tree
_PAUSE_S = 1.0  # between a term that could not begin or was cut short and the next try


@attrs.frozen(kw_only=True)
class OverlordSettings:
    """`metadata` is the SQLite file; `strategy` one of Druid's: equalDistribution, fillCapacity, until another is set
    over HTTP; `parallel_ratio` Druid's `parallelIndexTaskSlotRatio`. `accept_empty`: lead on an empty metadata store
    although the tree knows of data.
    """

    metadata: MetadataLocation
    accept_empty: bool = False
    strategy: str = "equalDistribution"
    limits: QueueTimeouts = attrs.field(factory=QueueTimeouts)
    blacklist: BlacklistRule = attrs.field(factory=BlacklistRule)
    parallel_ratio: float = 1.0


class Overlord:
    """See Role. `leading` is set while this process leads and has read its state."""

    def __init__(self, context: RoleContext, settings: OverlordSettings) -> None:
        self.leading: OverlordTerm | None = None
        self._context = context
        self._settings = settings
        self._leaders = LeaderView(context.zk, context.paths.overlord_latch)
        self._counts = Counts(context.metrics)
        self._given_up = GivenUp()
        show_leader(context.metrics, lambda: self.leading)

    @property
    def leader_url(self) -> str | None:
        """Who leads, as far as the tree tells."""
        return self._leaders.url

    @property
    def url(self) -> str:
        """The URL of this process."""
        return self._context.url

    @property
    def http(self) -> httpx2.AsyncClient:
        """The client for requests to workers."""
        return self._context.http

    def routes(self) -> list[BaseRoute]:
        """See OverlordResources."""
        context = self._context
        guard = EpochGuard("Coordinator", partial(contends, context.zk, context.paths.coordinator_latch))
        return OverlordResources(self, guard).routes()

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """None: the role says it all."""
        return {}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128 - _start says it
        """Contend for ever."""
        context = self._context
        async with AsyncExitStack() as stack:
            try:
                store = await stack.enter_async_context(open_store(self._settings.metadata))
            except MetadataError as fault:
                raise StartError(str(fault)) from None
            count_unreadable = context.metrics.counter(*UNREADABLE)
            store.unreadable.on_found = lambda table: count_unreadable.add(1, table=table)
            leaders = await stack.enter_async_context(self._leaders)
            await leaders.wait_synced()
            status = await stack.enter_async_context(
                announced_status(context.zk, context.paths, NodeRole.OVERLORD, context.host_port, _status(None))
            )
            latch = LeaderLatch(context.zk, context.paths.overlord_latch, context.url)
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(self._start, task_status)
            await latch.run(lambda term: self._lead(term, store, status))

    async def _start(self, task_status: trio.TaskStatus[None]) -> None:
        """Say that we serve once requests find a leader, here or elsewhere; or when that takes too long."""
        with trio.move_on_after(_LEADER_S):
            while self.leading is None:
                revision = self._leaders.revision.value
                if self.leader_url not in (None, self._context.url):
                    break
                await self._leaders.changed(revision)
        task_status.started()

    async def _lead(self, term: Term, store: MetadataStore, status: StatusAnnouncer) -> None:
        """One term. What the coordination layer's fence says comes out, and the latch judges it."""
        epoch = LeaderEpoch(role=STORE_ROLE, epoch=term.epoch)
        try:
            await begin_term(
                self._context.zk,
                self._context.paths,
                store,
                epoch,
                self._context.url,
                accept_empty=self._settings.accept_empty,
            )
            self._given_up.leads()
            await self._lead_fenced(term, epoch, store, status)
        except* MetadataError as fault:
            self._given_up.say(first_leaf(fault))
        await trio.sleep(_PAUSE_S)

    async def _lead_fenced(self, term: Term, epoch: LeaderEpoch, store: MetadataStore, status: StatusAnnouncer) -> None:
        context = self._context
        async with TaskTree(context.zk, context.paths) as tree:
            await tree.wait_synced()
            leading = OverlordTerm(
                store,
                epoch,
                tree,
                TaskQueue(context.zk, context.paths, term),
                context.http,
                wall_ms,
                OverlordTermSettings(
                    limits=self._settings.limits,
                    blacklist=self._settings.blacklist,
                    strategy=STRATEGIES[self._settings.strategy],
                    parallel_ratio=self._settings.parallel_ratio,
                ),
                self._counts,
            )
            await leading.begin()
            self.leading = leading
            self._leaders.revision.bump()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(store.until_lost)
                    nursery.start_soon(_tell, leading, term, status)
                    await leading.run()
                    nursery.cancel_scope.cancel(reason="the term is over")
            finally:
                self.leading = None
                status.say(**_status(None))


async def _tell(leading: OverlordTerm, term: Term, status: StatusAnnouncer) -> None:
    """Keep the status in the tree up to date; what changes often is gathered there, and here too."""
    while True:
        revision = leading.tree.revision.value
        status.say(**_status(term), **leading.queue())
        await trio.sleep(_TELL_S)
        await leading.tree.changed(revision)


def _status(term: Term | None) -> dict[str, object]:
    return {"leads": term is not None, "epoch": term.epoch if term is not None else None}


def build(context: RoleContext, settings: OverlordSettings) -> Role:
    """The role for `run_role`."""
    if settings.strategy not in STRATEGIES:
        raise StartError(f"strategy {settings.strategy!r} is not one of {', '.join(STRATEGIES)}")
    return Overlord(context, settings)
