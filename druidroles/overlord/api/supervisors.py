"""The Overlord's HTTP API about streaming ingestion: there are no supervisors, and none can be made.

Questions get the answer of a Druid that has none, because tools and Druid's own processes ask at every start. What
would make one, or preview its input, is refused by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from druidroles.http.errors import DruidHttpError
from druidroles.overlord.term import OverlordTerm

Handler = Callable[[Request, OverlordTerm], Awaitable[Response]]


def supervisor_handlers() -> list[tuple[str, Handler, str]]:
    """Path below `/druid/indexer/v1`, handler and method of each."""
    return [
        ("/supervisor", _none, "GET"),
        ("/supervisor", _refuse, "POST"),
        ("/supervisor/history", _no_history, "GET"),
        *((f"/supervisor/{what}", _all_done, "POST") for what in ("suspendAll", "resumeAll", "terminateAll")),
        *(
            (f"/supervisor/{{id}}{rest}", _unknown, method)
            for rest in ("", "/{rest:path}")
            for method in ("GET", "POST")
        ),
        ("/sampler", _refuse, "POST"),
    ]


async def _none(request: Request, leading: OverlordTerm) -> Response:
    return JSONResponse([])


async def _no_history(request: Request, leading: OverlordTerm) -> Response:
    return JSONResponse({})


async def _all_done(request: Request, leading: OverlordTerm) -> Response:
    return JSONResponse({"status": "success"})


async def _unknown(request: Request, leading: OverlordTerm) -> Response:
    return PlainTextResponse(f"Cannot find any supervisor with id: [{request.path_params['id']}]", 404)


async def _refuse(request: Request, leading: OverlordTerm) -> Response:
    message = f"{request.url.path} is not supported: there are batch tasks only"
    raise DruidHttpError(501, message, error="Unsupported operation")
