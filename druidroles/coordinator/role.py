"""The Coordinator as a process: contends for the lead, keeps its views warm while it stands by, leads when it may."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio
from starlette.routing import BaseRoute

from coordserver.client import LeaderLatch, Term
from druidroles.coordination.discovery import DiscoveryView
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.leaders import LeaderView
from druidroles.coordination.load_queue import LoadQueues
from druidroles.coordination.status import StatusView
from druidroles.coordination.tree_view import View
from druidroles.coordinator.api.absent import absent_routes
from druidroles.coordinator.api.cluster import cluster_routes, leader_routes
from druidroles.coordinator.api.config import config_routes
from druidroles.coordinator.api.datasources import datasource_routes
from druidroles.coordinator.api.metadata import metadata_routes
from druidroles.coordinator.api.rules import rules_routes
from druidroles.coordinator.metrics import show_cluster
from druidroles.coordinator.settings import TermSettings, Views
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.errors import first_leaf
from druidroles.leadership.term import GivenUp
from druidroles.metadata import MetadataError, MetadataLocation, MetadataStore, open_store
from druidroles.metadata.unreadable import UNREADABLE
from druidroles.model.server import NodeRole
from druidroles.process import Role, RoleContext, StartError

log = logging.getLogger(__name__)

GIVE_UP_S = 1.0  # before the lead is given up, so that a store that fails all the time is not asked all the time


@attrs.frozen(kw_only=True)
class CoordinatorSettings:
    """What a Coordinator is told: `metadata` is where the metadata store is."""

    metadata: MetadataLocation
    accept_empty: bool = False  # lead on an empty metadata store although the tree knows of data
    leading: TermSettings = attrs.field(factory=TermSettings)


def build(context: RoleContext, settings: CoordinatorSettings) -> Role:
    """A Coordinator for a process."""
    return Coordinator(context, settings)


@asynccontextmanager
async def opened_store(location: MetadataLocation) -> AsyncIterator[MetadataStore]:
    """The metadata store, open while the block lasts. Raises StartError."""
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_store(location))
        except MetadataError as error:
            raise StartError(str(error)) from error
        yield store


class Coordinator:
    """A `Role`. `leading` is the term in which it leads, None while it stands by."""

    def __init__(self, context: RoleContext, settings: CoordinatorSettings) -> None:
        self.leading: CoordinatorTerm | None = None
        self.url = context.url
        self._given_up = GivenUp()
        self._context = context
        self._settings = settings
        self._views = Views(
            inventory=ServerInventory(context.zk, context.paths),
            statuses=StatusView(context.zk, context.paths, NodeRole.HISTORICAL),
            queues=LoadQueues(context.zk, context.paths),
            overlords=LeaderView(context.zk, context.paths.overlord_latch),
        )
        self._leaders = LeaderView(context.zk, context.paths.coordinator_latch)
        self._discovery = DiscoveryView(context.zk, context.paths, NodeRole)

    @property
    def leader_url(self) -> str | None:
        """Who leads, as far as the tree has told."""
        return self._leaders.url

    def routes(self) -> list[BaseRoute]:
        """See Role."""
        return [
            *leader_routes(self),
            *cluster_routes(self, self._discovery),
            *metadata_routes(self),
            *datasource_routes(self),
            *rules_routes(self),
            *config_routes(self),
            *absent_routes(self),
        ]

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """See Role."""
        return {}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """See Role. It can serve when it knows the cluster, leader or not."""
        zk, latch = self._context.zk, self._context.paths.coordinator_latch
        views: tuple[View, ...] = (*self._views.all(), self._leaders, self._discovery)
        count_unreadable = self._context.metrics.counter(*UNREADABLE)
        show_cluster(self._context.metrics, lambda: self.leading)
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(opened_store(self._settings.metadata))
            store.unreadable.on_found = lambda table: count_unreadable.add(1, table=table)
            for view in views:
                await stack.enter_async_context(view)
            for view in views:
                await view.wait_synced()
            task_status.started()
            await LeaderLatch(zk, latch, self.url).run(lambda term: self._lead(store, term))

    async def _lead(self, store: MetadataStore, term: Term) -> None:
        """One term. Returning gives the lead up: the store has refused us, or cannot be used."""
        leading = CoordinatorTerm(self._context, store, self._views, term, self._settings.leading)
        try:
            await leading.begin(self.url, accept_empty=self._settings.accept_empty)
            self.leading = leading
            self._given_up.leads()
            await leading.run()
        except* MetadataError as failed:
            self._given_up.say(first_leaf(failed))
            await trio.sleep(GIVE_UP_S)
        finally:
            self.leading = None
