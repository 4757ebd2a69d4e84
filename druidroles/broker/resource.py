"""The Broker's HTTP resources: queries, what there is to be queried, and whether the view is complete."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.broker.data_server_client import RESPONSE_CONTEXT, Answer
from druidroles.broker.fanout import CONCURRENT, FanOut
from druidroles.broker.view import BrokerView
from druidroles.http.body import read_json_object
from druidroles.http.disconnect import cancel_when_gone
from druidroles.http.errors import DruidHttpError
from druidroles.http.metrics import Metrics
from druidroles.model.decode import ModelError
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.segment import DataSegment, SegmentDescriptor
from druidroles.query.encode import encode_results
from druidroles.query.errors import BadContextError, CapacityError, QueryCancelledError, QueryError
from druidroles.query.meter import QueryMeter
from druidroles.query.model import Query, parse_query

QUERY_ID = "X-Druid-Query-Id"
STALE = "X-Coord-View-Stale"  # ours: seconds since the tree was last followed
WAITING = 75  # beyond those that run; further queries get 429 at once
CONTEXT_BYTES_MAX = 7 * 1024  # Druid's responseContextHeaderSize; clients refuse long headers
QUERY_ID_MAX = 200
SEGMENTS_AT_ONCE = 1_000
INTERVALS_AT_ONCE = 100  # the columns of each are put together anew


class BrokerResource:
    """Queries and views. `initialized` tells whether the view is complete; before that queries get 503."""

    def __init__(
        self,
        fan_out: FanOut,
        view: BrokerView,
        initialized: Callable[[], bool],
        host: str,
        *,
        metrics: Metrics | None = None,
        stale_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`stale_s`: for how long the view has not followed the tree; None while it does."""
        self._stale_s = stale_s
        self._meter = QueryMeter(metrics or Metrics())
        self._fan_out = fan_out
        self._view = view
        self._initialized = initialized
        self._host = host
        self._admitted = 0
        self._running: dict[str, set[trio.CancelScope]] = {}
        self._drained = trio.lowlevel.ParkingLot()

    async def wait_drained(self) -> None:
        """Wait until no query runs or waits here; the caller gives the deadline."""
        while self._admitted:
            await self._drained.park()

    def routes(self) -> list[BaseRoute]:
        """The routes to serve."""
        return [
            *(Route(path, self._query, methods=["POST"]) for path in ("/druid/v2", "/druid/v2/")),
            *(
                Route(path, self._sql, methods=["GET", "POST"])
                for path in ("/druid/v2/sql", "/druid/v2/sql/{rest:path}")
            ),
            Route("/druid/v2/datasources", self._data_sources),
            Route("/druid/v2/datasources/{name}", self._columns),
            Route("/druid/v2/datasources/{name}/{part}", self._one_kind_of_columns),
            Route("/druid/v2/{query_id}", self._cancel, methods=["DELETE"]),
            Route("/druid/broker/v1/loadstatus", self._load_status),
            Route("/druid/broker/v1/readiness", self._readiness),
        ]

    async def _sql(self, request: Request) -> Response:
        raise DruidHttpError(
            501, f"{request.url.path}: there is no SQL here", error="Unsupported operation", host=self._host
        )

    # -- queries ----------------------------------------------------------------------------------------------------

    async def _query(self, request: Request) -> Response:
        headers: dict[str, str] = {}
        try:
            self.need_view()
            body, partial = _with_id(await read_json_object(request))
            headers[QUERY_ID] = body["context"]["queryId"]
            query = parse_query(body)
            with self._meter.measured(query):
                answer = await self._answer(request, query, partial)
        except QueryError as fault:
            fault.host = fault.host or self._host
            return JSONResponse(fault.body(), status_code=fault.status, headers=headers)
        stale_s = self._stale_s()
        if stale_s is not None:
            headers[STALE] = f"{stale_s:.3f}"
        if answer.missing:
            headers[RESPONSE_CONTEXT] = _response_context(answer.missing)
        return Response(await encode_results(answer.results), media_type="application/json", headers=headers)

    def need_view(self) -> None:
        """Raise the 503 as long as the view is not complete."""
        if not self._initialized():
            raise DruidHttpError(
                503,
                "this Broker does not know all segments yet",
                error="Service unavailable",
                host=self._host,
            )

    async def _answer(self, request: Request, query: Query, partial: bool) -> Answer:
        """The answer, given up when the client goes away or somebody cancels the query."""
        if self._admitted >= CONCURRENT + WAITING:
            raise CapacityError(f"{CONCURRENT} queries run and {WAITING} wait here already")
        outcome: Answer | QueryError = QueryCancelledError()
        self._admitted += 1
        async with trio.open_nursery() as nursery:
            scopes = self._running.setdefault(query.query_id or "", set())
            scopes.add(nursery.cancel_scope)
            try:
                nursery.start_soon(cancel_when_gone, request, nursery.cancel_scope)
                outcome = await self._fan_out.answer(query, partial=partial)
            except QueryError as fault:
                outcome = fault  # raised outside of the nursery, which would wrap it in a group
            finally:
                self._admitted -= 1
                if not self._admitted:
                    self._drained.unpark_all()
                scopes.discard(nursery.cancel_scope)
                if not scopes:
                    self._running.pop(query.query_id or "", None)
            nursery.cancel_scope.cancel(reason="the query has its answer")
        if isinstance(outcome, QueryError):
            raise outcome
        return outcome

    async def _cancel(self, request: Request) -> Response:
        """DELETE of a query: 202 whether or not it runs, as in Druid."""
        for scope in self._running.get(request.path_params["query_id"], ()):
            scope.cancel(reason="the query was cancelled")
        return Response(status_code=202)

    # -- what there is ----------------------------------------------------------------------------------------------

    async def _data_sources(self, request: Request) -> Response:
        self.need_view()
        return JSONResponse(self._view.data_sources())

    async def _columns(self, request: Request) -> Response:
        """Dimensions and metrics; with `full` by interval. `interval` narrows both (Druid's default: the last week)."""
        name, within = request.path_params["name"], _interval(request)
        if "full" in request.query_params:
            return JSONResponse(await self._columns_by_interval(name, within))
        return JSONResponse(await self._columns_of(name, within))

    async def _one_kind_of_columns(self, request: Request) -> Response:
        columns = await self._columns_of(request.path_params["name"], _interval(request))
        part = request.path_params["part"]
        if part not in columns:
            raise DruidHttpError(404, f"no resource at {request.url.path}", error="Not found")
        return JSONResponse(columns[part])

    async def _columns_of(self, name: str, within: Interval) -> dict[str, list[str]]:
        """The names of dimensions and metrics in what shows; both empty for an unknown datasource, as in Druid."""
        dimensions: set[tuple[str, ...]] = set()
        metrics: set[tuple[str, ...]] = set()
        for number, (_, segments) in enumerate(self._shown(name, within), 1):
            if number % SEGMENTS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            dimensions.update(segment.dimensions for segment in segments)
            metrics.update(segment.metrics for segment in segments)
        return {"dimensions": _union(dimensions), "metrics": _union(metrics)}

    async def _columns_by_interval(self, name: str, within: Interval) -> dict[str, dict[str, list[str]]]:
        """The same by interval; intervals that touch and have the same columns are one, as in Druid."""
        found: list[tuple[Interval, dict[str, list[str]]]] = []
        for number, (interval, segments) in enumerate(self._shown(name, within), 1):
            if number % INTERVALS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            columns = {
                "dimensions": _union({segment.dimensions for segment in segments}),
                "metrics": _union({segment.metrics for segment in segments}),
            }
            if found and found[-1][0].end_ms == interval.start_ms and found[-1][1] == columns:
                interval = Interval(found.pop()[0].start_ms, interval.end_ms)
            found.append((interval, columns))
        return {str(interval): columns for interval, columns in found}

    def _shown(self, name: str, within: Interval) -> Iterator[tuple[Interval, list[DataSegment]]]:
        """What shows of a datasource now, by time."""
        self.need_view()
        timeline = self._view.timeline(name)
        for holder in timeline.lookup(within) if timeline is not None else ():
            yield holder.interval, [chunk.value.segment for chunk in holder.chunks]

    async def _load_status(self, request: Request) -> Response:
        return JSONResponse({"inventoryInitialized": self._initialized()})

    async def _readiness(self, request: Request) -> Response:
        return Response(status_code=200 if self._initialized() else 503)


def _interval(request: Request) -> Interval:
    """The query parameter `interval`; all of time without it."""
    text = request.query_params.get("interval")
    try:
        return Interval.parse(text) if text else ETERNITY
    except ModelError as fault:
        raise DruidHttpError(400, f"interval: {fault}") from None


def _union(lists: Iterable[tuple[str, ...]]) -> list[str]:
    return sorted({name for names in lists for name in names})


def _with_id(body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The query with an id in its context, its own or a new one, and whether a partial answer will do."""
    context = body.get("context")
    if context is None:
        context = {}
    if not isinstance(context, dict):
        raise BadContextError("context must be an object")
    query_id = context.get("queryId")
    if query_id is None:
        query_id = str(uuid.uuid4())
    if not isinstance(query_id, str) or len(query_id) > QUERY_ID_MAX or not query_id.isascii():
        raise BadContextError(f"context.queryId must be a string of at most {QUERY_ID_MAX} ASCII characters")
    if not query_id.isprintable():
        raise BadContextError("context.queryId holds characters that cannot be printed")
    partial = context.get("returnPartialResults")
    if partial not in (None, True, False):
        raise BadContextError("context.returnPartialResults must be true or false")
    return {**body, "context": {**context, "queryId": query_id}}, bool(partial)


def _response_context(missing: Sequence[SegmentDescriptor]) -> str:
    """The header that marks an answer as partial. Where not all fit it names the first and says so, as Druid does."""

    def text(count: int) -> str:
        context: dict[str, Any] = {"missingSegments": [descriptor.to_json() for descriptor in missing[:count]]}
        if count < len(missing):
            context["truncated"] = True
            context["missingSegmentsCount"] = len(missing)
        return json.dumps(context, separators=(",", ":"))

    count = min(len(missing), CONTEXT_BYTES_MAX // 80)
    while count and len(text(count)) > CONTEXT_BYTES_MAX:
        count -= 1
    return text(count)
