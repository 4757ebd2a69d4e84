"""The Historical: loads the segments of its load queue, serves and announces them, and answers queries over them.

Queries need no coordination server, so a Historical also serves them while it has no session. It stops in this order:

1. It sets `stopping` in its status, so that the Coordinator may wait for its return before it replaces the copies.
2. It removes its announcements.
3. It answers queries until Brokers have received the removal.
4. It waits until the running queries have ended.
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
from druidroles.coordination.load_queue_runner import LoadWorker
from druidroles.coordination.load_queue_server import LoadQueueView
from druidroles.coordination.status import StatusAnnouncer, announced_status
from druidroles.deepstorage import DeepStorageError, DeepStorageLocation, open_deep_storage
from druidroles.historical.cache import SegmentCache
from druidroles.historical.files import NewerFormatError
from druidroles.historical.locations import CacheLocation, Locations, Selector
from druidroles.model.server import DATA_NODE_SERVICE, DEFAULT_TIER, DruidServerMetadata, NodeRole, data_node_service
from druidroles.process import Role, RoleContext, StartError, claim_data_dir, require_name
from druidroles.query.resource import QueryResource

MAX_SIZE = 300_000_000_000  # bytes in the only location that there is by default
UNANNOUNCED_S = 0.5  # the time in which Brokers receive the removal of an announcement
QUERIES_S = 3.0  # the time for running queries to end when the Historical stops
STOPPING_STATUS_S = 0.5  # the time for writing the status `stopping`; without a connection it cannot be written


@attrs.frozen(kw_only=True)
class HistoricalSettings:
    """The settings of a Historical. Sizes are in bytes.

    Without `cache_locations` the segments are stored in the data directory. `max_size` is the limit that the Historical
    announces. Its default is the sum of the limits of the locations.
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
    """The Historical role."""

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
        context.metrics.gauge("segment/count", "segments served", self._count_by_data_source)
        context.metrics.gauge(
            "segment/pendingDelete", "bytes dropped, not yet deleted", lambda: self._cache.dropped_size
        )
        self._restored = False

    def routes(self) -> list[BaseRoute]:
        """Return the HTTP routes of the role."""
        return [
            Route("/druid/historical/v1/loadstatus", self._get_loadstatus),
            Route("/druid/historical/v1/readiness", self._get_readiness),
            *self._queries.routes(),
        ]

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """Return the services that the process announces for discovery: it is a data node."""
        return {DATA_NODE_SERVICE: data_node_service(self._metadata)}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Restore and announce the segments and process the load queue. When cancelled, stop as the module says."""
        zk, paths, name = self._context.zk, self._context.paths, self._context.host_port
        try:
            with self._claimed_locations():
                await self._restore()
                # The status is removed after the announcement, so that a reader of the removal still finds the reason.
                async with announced_status(zk, paths, NodeRole.HISTORICAL, name, self._build_status()) as status:
                    try:
                        async with self._announced(status):
                            task_status.started()
                            await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True, deadline=trio.current_time() + UNANNOUNCED_S + QUERIES_S):
                            await trio.sleep(UNANNOUNCED_S)
                            await self._queries.wait_drained()
        finally:
            self._queries.close()

    @contextmanager
    def _claimed_locations(self) -> Iterator[None]:
        """Lock the cache locations, because two processes would remove each other's files.

        The data directory is locked already.
        """
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
        """Announce the server and its segments, and process the load queue, while the block runs.

        On exit it first writes the status `stopping`, then it removes the announcements.
        """
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
            nursery.start_soon(self._publish_status, status)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + STOPPING_STATUS_S):
                    await status.say_now(stopping=True)

    def _build_status(self) -> dict[str, Any]:
        return {
            "currSize": self._cache.served_size,
            "maxSize": self._cache.max_size,
            "segments": self._cache.served,
            "loading": self._cache.loading,
        }

    async def _publish_status(self, status: StatusAnnouncer) -> None:
        while True:
            seen = self._cache.revision.value
            status.say(**self._build_status())
            await self._cache.revision.passed(seen)

    def _used_percent(self) -> float:
        return self._cache.served_size / self._cache.max_size if self._cache.max_size else 0.0

    def _count_by_data_source(self) -> Iterator[tuple[dict[str, str], float]]:
        counts = Counter(segment.data_source for segment in self._cache.segments())
        return (({"dataSource": name}, count) for name, count in counts.items())

    async def _get_loadstatus(self, request: Request) -> Response:
        return JSONResponse({"cacheInitialized": self._restored})

    async def _get_readiness(self, request: Request) -> Response:
        return Response(status_code=200 if self._restored else 503)


def build(context: RoleContext, settings: HistoricalSettings) -> Role:
    """Build the role for `run_role`. Raises StartError."""
    require_name(settings.tier, "--tier")
    return Historical(context, settings)
