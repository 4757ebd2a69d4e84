"""The Router: one address for everything. It finds the Brokers and the leaders through the tree and proxies to them."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import httpx2
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Send

from druidroles.coordination.discovery import DiscoveryView
from druidroles.coordination.leaders import LeaderView
from druidroles.http.errors import DruidHttpError
from druidroles.model.server import NodeRole
from druidroles.process import Role, RoleContext
from druidroles.query.model import MAX_TIMEOUT_MS
from druidroles.router.broker_strategies import DEFAULT_STRATEGIES, Asked, Strategy, Tiers, choose_service
from druidroles.router.paths import refuse_abnormal
from druidroles.router.proxy import Exchange, Proxied, Target, UnreachableError, pass_on
from druidroles.router.rules import PolledRules

log = logging.getLogger(__name__)

# The Broker ends a query in time, and one that hangs leaves the tree; this is only the end of all waiting.
QUERY_READ_S = MAX_TIMEOUT_MS / 1000 + 10
MANAGEMENT_READ_S = 60.0
CANCEL_S = 5.0
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

Handler = Callable[[Request], Awaitable[Response]]


@attrs.frozen(kw_only=True)
class RouterSettings:
    """How a Router tells which Brokers a query goes to."""

    tiers: Tiers = attrs.field(factory=Tiers)
    strategies: tuple[Strategy, ...] = DEFAULT_STRATEGIES


class Router:
    """Made by `build`."""

    def __init__(self, context: RoleContext, settings: RouterSettings) -> None:
        self._context = context
        self._settings = settings
        self._brokers = DiscoveryView(context.zk, context.paths, [NodeRole.BROKER])
        self._coordinators = LeaderView(context.zk, context.paths.coordinator_latch)
        self._overlords = LeaderView(context.zk, context.paths.overlord_latch)
        self._rules = PolledRules(context.http, self._coordinators)
        self._turns: Counter[str] = Counter()
        self._routed = context.metrics.counter("query/routed/count", "queries passed on, by the Brokers' service name")
        self._failed = context.metrics.counter("query/failed/count", "queries that no Broker answered")
        self._time = context.metrics.timer("query/time", "how long queries took, to the last byte of the answer")

    def routes(self) -> list[BaseRoute]:
        """Queries to a Broker, the rest to the leaders (Druid documentation, "Router process")."""
        coordinator = self._to_leader("Coordinator", self._coordinators, b"")
        overlord = self._to_leader("Overlord", self._overlords, b"")
        return [
            Route("/", self._home),
            Route("/druid/router/v1/brokers", self._brokers_by_service),
            Route("/druid/v2/{query_id}", self._cancel_query, methods=["DELETE"]),
            *(Route(path, self._to_broker, methods=_METHODS) for path in ("/druid/v2", "/druid/v2/{rest:path}")),
            Route("/druid/coordinator/{rest:path}", coordinator, methods=_METHODS),
            Route("/druid/indexer/{rest:path}", overlord, methods=_METHODS),
            Route(
                "/proxy/coordinator/{rest:path}",
                self._to_leader("Coordinator", self._coordinators, b"/proxy/coordinator"),
                methods=_METHODS,
            ),
            Route(
                "/proxy/overlord/{rest:path}",
                self._to_leader("Overlord", self._overlords, b"/proxy/overlord"),
                methods=_METHODS,
            ),
        ]

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """Nothing beyond being a Router."""
        return {}

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Follow the tree; started once Brokers and leaders are known."""
        async with self._brokers, self._coordinators, self._overlords, trio.open_nursery() as nursery:
            for view in (self._brokers, self._coordinators, self._overlords):
                await view.wait_synced()
            if self._matters:
                nursery.start_soon(self._rules.run)
            task_status.started()
            while True:
                self._brokers.deltas.take()  # nobody needs them one by one
                await self._brokers.changed()

    # -- what there is ----------------------------------------------------------------------------------------------

    async def _home(self, request: Request) -> Response:
        return JSONResponse(
            {
                "router": self._context.url,
                "brokers": [node.url for node in self._brokers.nodes(NodeRole.BROKER)],
                "services": dict(Counter(node.node.service for node in self._brokers.nodes(NodeRole.BROKER))),
                "coordinator": _leader(self._coordinators),
                "overlord": _leader(self._overlords),
            }
        )

    async def _brokers_by_service(self, request: Request) -> Response:
        """Druid's shape: the hosts of each service that queries may go to, also where nobody offers it."""
        found: dict[str, list[str]] = {service: [] for service in sorted({*self._settings.tiers.services.values()})}
        for node in self._brokers.nodes(NodeRole.BROKER):
            found.setdefault(node.node.service, []).append(node.name)
        return JSONResponse(found)

    # -- to a Broker ------------------------------------------------------------------------------------------------

    async def _to_broker(self, request: Request) -> Response:
        exchange = Exchange(self._context.http, request, request.scope["raw_path"], QUERY_READ_S)
        return Proxied(exchange, self._query)

    async def _query(self, exchange: Exchange, send: Send) -> None:
        """Ask one Broker after the other, each request beginning at the next, until one answers: queries only read."""
        with self._time.time():
            await self._pass_query(exchange, send)

    async def _pass_query(self, exchange: Exchange, send: Send) -> None:
        failures: list[str] = []
        service = await self._service(exchange)
        self._routed.add(service=service)
        for target in self._broker_targets(service):
            if failures and not exchange.replayable:
                break
            try:
                async with exchange.sent_to(target) as response:
                    await pass_on(response, send)
                    return
            except UnreachableError as fault:
                log.warning("a query could not be passed on: %s", fault)
                failures.append(str(fault))
        self._failed.add()
        raise _unavailable("; ".join(failures) or f"no Broker of the service {service} is announced")

    async def _service(self, exchange: Exchange) -> str:
        """The service name of the Brokers for a query. Only native queries are looked into."""
        tiers = self._settings.tiers
        if exchange.path.rstrip(b"/") != b"/druid/v2" or not self._matters:
            return tiers.default
        body = await exchange.peek()
        try:
            asked = Asked.read(json.loads(body)) if body else None
        except (ValueError, RecursionError):
            asked = None
        return choose_service(asked, tiers, self._settings.strategies, self._rules.rules, time.time_ns() // 1_000_000)

    @property
    def _matters(self) -> bool:
        """Whether there is more than one service to choose from."""
        return {*self._settings.tiers.services.values()} != {self._settings.tiers.default}

    def _broker_targets(self, service: str) -> list[Target]:
        """The Brokers of a service, those of the default one where there are none; each time another is the first."""
        everybody = self._brokers.nodes(NodeRole.BROKER)
        nodes = [node for node in everybody if node.node.service == service]
        nodes = nodes or [node for node in everybody if node.node.service == self._settings.tiers.default]
        if not nodes:
            return []
        turn = self._turns[service] = (self._turns[service] + 1) % len(nodes)
        return [self._broker(node.name, node.url) for node in nodes[turn:] + nodes[:turn]]

    def _broker(self, name: str, url: str) -> Target:
        async def gone() -> None:
            while self._brokers.node(NodeRole.BROKER, name) is not None:
                await self._brokers.changed()

        return Target(url, gone)

    async def _cancel_query(self, request: Request) -> Response:
        """Whichever Broker runs it: all are told."""
        refuse_abnormal(request.scope["raw_path"])
        path = request.scope["raw_path"].decode("ascii")

        async def tell(url: str) -> None:
            try:
                await self._context.http.delete(url + path, timeout=CANCEL_S)
            except httpx2.HTTPError as fault:
                log.warning("%s could not be told to cancel a query: %r", url, fault)

        async with trio.open_nursery() as nursery:
            for node in self._brokers.nodes(NodeRole.BROKER):
                nursery.start_soon(tell, node.url)
        return Response(status_code=202)

    # -- to a leader ------------------------------------------------------------------------------------------------

    def _to_leader(self, role: str, view: LeaderView, prefix: bytes) -> Handler:
        """A proxy to whoever leads; `prefix` is taken off the path."""

        async def run(exchange: Exchange, send: Send) -> None:
            await _manage(exchange, send, role, view)

        async def handle(request: Request) -> Response:
            path = request.scope["raw_path"].removeprefix(prefix)
            return Proxied(Exchange(self._context.http, request, path, MANAGEMENT_READ_S), run)

        return handle


async def _manage(exchange: Exchange, send: Send, role: str, view: LeaderView) -> None:
    """Ask the leader. One that leads no more names its successor in a 307, which is followed once."""
    url = view.url
    if url is None:
        raise _unavailable(f"no {role} leads")
    try:
        async with exchange.sent_to(_leading(view, url)) as response:
            successor = _origin(response.headers.get("location")) if response.status_code == 307 else None
            if successor is None or not exchange.replayable:
                await pass_on(response, send)
                return
        # The view may not know it as the leader yet, so it cannot tell when it goes.
        async with exchange.sent_to(Target(successor, trio.sleep_forever)) as response:
            await pass_on(response, send)
    except UnreachableError as fault:
        raise _unavailable(f"the leading {role} does not answer: {fault}") from None


def _leading(view: LeaderView, url: str) -> Target:
    async def gone() -> None:
        while view.url == url:
            await view.changed()

    return Target(url, gone)


def _origin(location: str | None) -> str | None:
    """The scheme, host and port of a redirect; the path stays as it was asked for."""
    if location is None:
        return None
    try:
        url = httpx2.URL(location)
    except httpx2.InvalidURL:
        return None
    return f"{url.scheme}://{url.netloc.decode('ascii')}" if url.scheme in ("http", "https") and url.host else None


def _leader(view: LeaderView) -> dict[str, object] | None:
    leader = view.leader
    return None if leader is None else {"url": leader.participant, "epoch": leader.epoch}


def _unavailable(message: str) -> DruidHttpError:
    return DruidHttpError(503, message, error="Service unavailable")


def build(context: RoleContext, settings: RouterSettings) -> Role:
    """A Router."""
    return Router(context, settings)
