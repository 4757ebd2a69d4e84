"""The query resource of a data server: `POST /druid/v2` with the pieces of segments to be read named in it.

A query is answered over what is served of the pieces; the others are told in the header X-Druid-Response-Context, for
the Broker to find them elsewhere. It runs in a thread, which cannot be cancelled, only interrupted: when its client
goes away, when its time is over, when the server stops.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from druidroles.http.body import read_json_object
from druidroles.http.disconnect import cancel_when_gone
from druidroles.http.errors import DruidHttpError
from druidroles.http.metrics import Metrics
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.encode import encode_results
from druidroles.query.engine import Engine, Execution, PiecesGoneError
from druidroles.query.errors import (
    CapacityError,
    QueryCancelledError,
    QueryTimeoutError,
    SegmentMissingError,
    UnsupportedQueryError,
)
from druidroles.query.meter import QueryMeter
from druidroles.query.model import Query, parse_query
from druidroles.query.relation import Piece
from druidroles.query.source import SegmentSource

log = logging.getLogger(__name__)

RESPONSE_CONTEXT = "X-Druid-Response-Context"
CONTEXT_BYTES_MAX = 48 * 1024  # of that header; HTTP clients refuse headers of more than 64 to 100 KiB
INTERRUPT_S = 30.0  # how long to wait for a thread that was told to end; DuckDB looks every few thousand rows
_AGAIN_S = 0.02

Results = list[dict[str, Any]]
Missing = list[SegmentDescriptor]


class QueryResource:
    """Answers queries over segments that are served here.

    Make one per process, hand its routes to the application and close it at the end. Queries run in threads, at most
    `concurrent` at a time, and at most `waiting` more wait for their turn; further ones are refused with 429.
    """

    def __init__(
        self,
        source: SegmentSource,
        *,
        host: str,
        temp_dir: Path,
        directories: Sequence[Path] | None = None,
        concurrent: int = 4,
        waiting: int = 64,
        metrics: Metrics | None = None,
    ) -> None:
        """`host` is our host:port, named in errors. `temp_dir` takes what does not fit into memory. Queries read files
        in `directories` alone; None: any.
        """
        self._meter = QueryMeter(metrics or Metrics())
        self._source = source
        self._host = host
        self._engine = Engine(temp_dir, directories=directories)
        self._limiter = trio.CapacityLimiter(concurrent)
        self._admitted = 0
        self._admitted_max = concurrent + waiting
        self._scopes: set[trio.CancelScope] = set()
        self._drained = trio.lowlevel.ParkingLot()
        self._closed = False

    def routes(self) -> list[BaseRoute]:
        """The routes to serve."""
        return [Route(path, self._post, methods=["POST"]) for path in ("/druid/v2", "/druid/v2/")]

    async def wait_drained(self) -> None:
        """Wait until no query runs or waits here; the caller gives the deadline."""
        while self._admitted:
            await self._drained.park()

    def close(self) -> None:
        """Give back what the engine holds. Queries that run are interrupted, new ones refused."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel(reason="the server stops")
        self._engine.close()

    async def _post(self, request: Request) -> Response:
        try:
            query = parse_query(await read_json_object(request))
            with self._meter.measured(query):
                results, missing = await self._answer_client(request, query)
            headers = {RESPONSE_CONTEXT: _response_context(missing)} if missing else {}
            return Response(await encode_results(results), media_type="application/json", headers=headers)
        except DruidHttpError as fault:
            fault.host = fault.host or self._host
            raise

    async def _answer_client(self, request: Request, query: Query) -> tuple[Results, Missing]:
        """The answer, given up when the client goes away."""
        answer: tuple[Results, Missing] | DruidHttpError = QueryCancelledError()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_gone, request, nursery.cancel_scope)
            try:
                answer = await self._answer(query)
            except DruidHttpError as fault:
                answer = fault  # raised outside of the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel(reason="the query has its answer")
        if isinstance(answer, DruidHttpError):
            raise answer
        return answer

    async def _answer(self, query: Query) -> tuple[Results, Missing]:
        if query.segments is None:
            raise UnsupportedQueryError(
                'intervals: a data server answers over segments that are named, {"type": "segments", "segments": '
                "[...]}; ask a Broker"
            )
        if self._closed:
            raise DruidHttpError(503, "this server is stopping", error="Service unavailable")
        if self._admitted >= self._admitted_max:
            raise CapacityError(f"{self._admitted} queries run or wait here already")
        self._admitted += 1
        try:
            with trio.move_on_after(query.timeout_ms / 1000) as scope:
                self._scopes.add(scope)
                try:
                    return await self._read(query, query.segments)
                finally:
                    self._scopes.discard(scope)
        finally:
            self._admitted -= 1
            if not self._admitted:
                self._drained.unpark_all()
        if self._closed:
            raise QueryCancelledError
        raise QueryTimeoutError(query.timeout_ms)

    async def _read(self, query: Query, descriptors: Sequence[SegmentDescriptor]) -> tuple[Results, Missing]:
        pieces, missing = self._find(query, descriptors)
        while True:
            try:
                return await self._run(query, pieces), missing
            except PiecesGoneError as fault:
                # Dropped since they were found. Each turn leaves fewer pieces, so this ends.
                log.info("%s", fault)
                missing += [piece.descriptor for piece in fault.pieces]
                pieces = [piece for piece in pieces if piece not in fault.pieces]

    def _find(self, query: Query, descriptors: Sequence[SegmentDescriptor]) -> tuple[list[Piece], Missing]:
        pieces, missing = [], []
        for descriptor in dict.fromkeys(descriptors):  # a piece named twice counts once
            served = self._source.find(query.data_source, descriptor)
            if served is None:
                missing.append(descriptor)
            else:
                pieces.append(Piece(descriptor, served))
        return pieces, missing

    async def _run(self, query: Query, pieces: Sequence[Piece]) -> Results:
        execution = self._engine.start(query, pieces)
        try:
            return await trio.to_thread.run_sync(execution.run, limiter=self._limiter, abandon_on_cancel=True)
        except trio.Cancelled:
            with trio.move_on_after(INTERRUPT_S, shield=True):
                await _interrupt(execution)
            raise


async def _interrupt(execution: Execution) -> None:
    """Interrupt until it has ended, so that nothing reads files that may be deleted next."""
    execution.interrupt()
    while execution.running:
        await trio.sleep(_AGAIN_S)
        execution.interrupt()


def _response_context(missing: Missing) -> str:
    """The header's value. A list that does not fit is an error: a shorter one would pass off less as all."""
    segments = [descriptor.to_json() for descriptor in missing]
    text = json.dumps({"missingSegments": segments}, separators=(",", ":"))
    if len(text) > CONTEXT_BYTES_MAX:
        raise SegmentMissingError(f"{len(missing)} of the segments asked for are not served here, too many to name")
    return text
