"""The Historical: loads segments as its queue says, serves and announces them, and answers queries over them.

Neither the loss of its session nor that of the coordination server ends its serving: queries need no tree. When it
stops, it first says so in its status, that the Coordinator may wait for its return before it loads what was here
elsewhere; then it takes back its announcements, goes on answering while the news spreads, and lets the queries that run
then come to their end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from coordserver.client.background import background
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.load_requests import LoadQueueView
from druidroles.coordination.load_worker import LoadWorker
from druidroles.coordination.status import StatusAnnouncer, announced_status
from druidroles.deepstorage import DeepStorageError, DeepStorageLocation, open_deep_storage
from druidroles.historical.cache import SegmentCache
from druidroles.historical.files import NewerFormatError
from druidroles.historical.locations import CacheLocation, Locations, Selector
from druidroles.model.server import DATA_NODE_SERVICE, DEFAULT_TIER, DruidServerMetadata, NodeRole, data_node_service
from druidroles.process import Role, RoleContext, StartError, claim_data_dir, require_name
from druidroles.query.resource import QueryResource

MAX_SIZE = 300_000_000_000  # of the one location there is by default
NEWS_S = 0.5  # in which Brokers hear that a server goes
QUERIES_S = 3.0  # for the queries that run when it stops
FAREWELL_S = 0.5  # for the word that it stops; without a connection there is nobody to say it to


@attrs.frozen(kw_only=True)
class HistoricalSettings:
    """What a Historical is told. Sizes in bytes.

    Without `cache_locations` segments are kept in the data directory. `max_size` is what it announces to take, by
    default all that its locations do.
    """

    deep_storage: DeepStorageLocation
    max_size: int | None = None
    cache_locations: tuple[CacheLocation, ...] = ()
    cache_selector: Selector = Selector.LEAST_BYTES_USED
    tier: str = DEFAULT_TIER
    priority: int = 0
    load_threads: int = 2
    drop_delay_s: float = 30.0
    query_threads: int = 4


class Historical:
    """See the module."""

    def __init__(self, context: RoleContext, settings: HistoricalSettings) -> None:
        self._context = context
        self._settings = settings
        data_dir = context.settings.data_dir
        own = CacheLocation(data_dir, MAX_SIZE if settings.max_size is None else settings.max_size)
        for number, location in enumerate(settings.cache_locations):
            if location.path in (other.path for other in settings.cache_locations[:number]):
                raise StartError(f"the cache location {location.path} is named twice")
        locations = Locations(settings.cache_locations or (own,), settings.cache_selector)
        max_size = locations.max_size if settings.max_size is None else min(locations.max_size, settings.max_size)
        self._metadata = DruidServerMetadata(
            name=context.host_port,
            host=context.host_port,
            max_size=max_size,
            tier=settings.tier,
            priority=settings.priority,
        )
        try:
            storage = open_deep_storage(settings.deep_storage)
        except DeepStorageError as fault:
            raise StartError(str(fault)) from None
        self._cache = SegmentCache(
            locations,
            storage,
            max_size=max_size,
            load_threads=settings.load_threads,
            drop_delay_s=settings.drop_delay_s,
        )
        self._queries = QueryResource(
            self._cache,
            host=context.host_port,
            temp_dir=data_dir / "tmp",
            directories=[location.files.directory for location in locations.all],
            concurrent=settings.query_threads,
            metrics=context.metrics,
        )
        context.metrics.gauge("segment/max", "bytes of segments it may hold", lambda: self._cache.max_size)
        context.metrics.gauge("segment/used", "bytes of segments served", lambda: self._cache.served_size)
        context.metrics.gauge("segment/usedPercent", "the part of segment/max that is used", self._used_percent)
        context.metrics.gauge("segment/count", "segments served", self._counts)
        context.metrics.gauge(
            "segment/pendingDelete", "bytes dropped, not yet deleted", lambda: self._cache.dropped_size
        )
        self._restored = False

    def routes(self) -> list[BaseRoute]:
        """Its HTTP resources."""
        return [
            Route("/druid/historical/v1/loadstatus", self._loadstatus),
            Route("/druid/historical/v1/readiness", self._readiness),
            *self._queries.routes(),
        ]

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """It serves data."""
        return {DATA_NODE_SERVICE: data_node_service(self._metadata)}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Restore, announce, work off the queue; when cancelled, take leave."""
        zk, paths, name = self._context.zk, self._context.paths, self._context.host_port
        try:
            with self._claimed_locations():
                await self._restore()
                # The status outlasts the announcement: whoever sees the server go still finds why.
                async with announced_status(zk, paths, NodeRole.HISTORICAL, name, self._status()) as status:
                    try:
                        async with self._announced(status):
                            task_status.started()
                            await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True, deadline=trio.current_time() + NEWS_S + QUERIES_S):
                            await trio.sleep(NEWS_S)
                            await self._queries.wait_drained()
        finally:
            self._queries.close()

    @contextmanager
    def _claimed_locations(self) -> Iterator[None]:
        """Lock the cache locations, as the data directory is: two processes would clear away each other's files."""
        with ExitStack() as claims:
            for path in dict.fromkeys(location.path for location in self._settings.cache_locations):
                if path != self._context.settings.data_dir:
                    claims.enter_context(claim_data_dir(path, "cache location"))
            yield

    async def _restore(self) -> None:
        try:
            await self._cache.restore()
        except NewerFormatError as fault:
            raise StartError(f"segments kept here cannot be used: {fault}") from None
        except OSError as fault:
            raise StartError(f"segments kept here cannot be used: {fault}") from None
        self._restored = True

    @asynccontextmanager
    async def _announced(self, status: StatusAnnouncer) -> AsyncIterator[None]:
        """Be there for the others, and work off the queue."""
        zk, paths, name = self._context.zk, self._context.paths, self._context.host_port
        await zk.ensure_path(paths.load_queue_of(name))
        async with (
            announced_server(zk, paths, self._metadata, self._cache.segments()) as announcer,
            LoadQueueView(zk, paths, name) as queue,
            background() as nursery,
        ):
            worker = LoadWorker(zk, queue, announcer, self._cache, load_threads=self._settings.load_threads)
            nursery.start_soon(worker.run)
            nursery.start_soon(self._cache.delete_dropped)
            nursery.start_soon(self._tell_status, status)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL_S):
                    await status.say_now(stopping=True)

    def _status(self) -> dict[str, Any]:
        return {
            "currSize": self._cache.served_size,
            "maxSize": self._cache.max_size,
            "segments": self._cache.served,
            "loading": self._cache.loading,
        }

    async def _tell_status(self, status: StatusAnnouncer) -> None:
        while True:
            seen = self._cache.revision.value
            status.say(**self._status())
            await self._cache.revision.passed(seen)

    def _used_percent(self) -> float:
        return self._cache.served_size / self._cache.max_size if self._cache.max_size else 0.0

    def _counts(self) -> Iterator[tuple[dict[str, str], float]]:
        counts = Counter(segment.data_source for segment in self._cache.segments())
        return (({"dataSource": name}, count) for name, count in counts.items())

    async def _loadstatus(self, request: Request) -> Response:
        return JSONResponse({"cacheInitialized": self._restored})

    async def _readiness(self, request: Request) -> Response:
        return Response(status_code=200 if self._restored else 503)


def build(context: RoleContext, settings: HistoricalSettings) -> Role:
    """The role, for `run_role`. Raises StartError."""
    require_name(settings.tier, "--tier")
    return Historical(context, settings)
