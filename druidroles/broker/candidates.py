"""Who would be asked: for the segments that a query is about, the servers that have them (Druid's query targets)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.broker.fanout import Servers
from druidroles.broker.segment_lookup import Piece, plan
from druidroles.broker.view import BrokerView
from druidroles.http.body import read_json_object
from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import whole_number
from druidroles.model.interval import Interval
from druidroles.query.model import Query, parse_query

PIECES_AT_ONCE = 500


class CandidatesResource:
    """`need_view` raises while the view is not complete."""

    def __init__(self, view: BrokerView, servers: Servers, need_view: Callable[[], None]) -> None:
        self._view = view
        self._servers = servers
        self._need_view = need_view

    def routes(self) -> list[BaseRoute]:
        """The routes to serve, before those of queries and datasources."""
        return [
            Route("/druid/v2/candidates", self._of_query, methods=["POST"]),
            Route("/druid/v2/datasources/{name}/candidates", self._of_data_source),
        ]

    async def _of_query(self, request: Request) -> Response:
        self._need_view()
        query = parse_query(await read_json_object(request))
        return JSONResponse(await self._located(query, _count(request)))

    async def _of_data_source(self, request: Request) -> Response:
        """`?intervals=` with commas between them; none of them asks for nothing, as in Druid."""
        self._need_view()
        texts = [text for text in request.query_params.get("intervals", "").split(",") if text]
        try:
            intervals = [str(Interval.parse(text.replace("_", "/"))) for text in texts]
        except ValueError as fault:
            raise DruidHttpError(400, f"intervals: {fault}") from None
        if not intervals:
            return JSONResponse([])
        query = parse_query(
            {"queryType": "timeBoundary", "dataSource": request.path_params["name"], "intervals": intervals}
        )
        return JSONResponse(await self._located(query, _count(request)))

    async def _located(self, query: Query, at_most: int | None) -> list[dict[str, Any]]:
        located = []
        pieces = await plan(query, self._view)
        for at in range(0, len(pieces), PIECES_AT_ONCE):
            located += self._describe(pieces[at : at + PIECES_AT_ONCE], at_most)
            await trio.lowlevel.checkpoint()
        return located

    def _describe(self, pieces: Iterable[Piece], at_most: int | None) -> list[dict[str, Any]]:
        """As Druid's LocatedSegmentDescriptor."""
        return [
            {
                "interval": str(piece.descriptor.interval),
                "version": piece.descriptor.version,
                "partitionNumber": piece.descriptor.partition,
                "size": piece.selector.segment.size if piece.selector is not None else 0,
                "locations": [
                    self._servers.servers[name].to_json()
                    for name in list(piece.selector.servers if piece.selector is not None else ())[:at_most]
                    if name in self._servers.servers
                ],
            }
            for piece in pieces
        ]


def _count(request: Request) -> int | None:
    """`?numCandidates=`: how many servers of each segment; all where it is missing or -1."""
    text = request.query_params.get("numCandidates", "-1")
    count = whole_number(text)
    if count is None:
        raise DruidHttpError(400, f"numCandidates {text[:40]!r} is not a number")
    return count if count >= 0 else None
