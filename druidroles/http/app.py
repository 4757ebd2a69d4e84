"""The ASGI application of a process: its routes, the status resource that every role has, and Druid's error bodies."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from druidroles.http.compression import Compressing
from druidroles.http.errors import (
    DruidHttpError,
    error_response,
    handle_druid_error,
    handle_method_not_allowed,
    handle_not_found,
    handle_unexpected,
)
from druidroles.http.paths import RefuseNul

# What `/status` says as Druid's version: the release whose answers these are compared with. Tools read the field to see
# what they may ask for, and would take the version of this package for a Druid before 0.14. Ours is told as a module.
DRUID_VERSION = "28.0.0"


def package_version() -> str:
    """The version of the installed package; "0" where it runs from a bare checkout."""
    try:
        return version("coordserver")
    except PackageNotFoundError:
        return "0"


def _memory() -> dict[str, int]:
    # ru_maxrss is KiB on Linux and bytes on macOS; Python has no maximum of its own, so the peak stands for both.
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"maxMemory": used, "totalMemory": used, "freeMemory": 0, "usedMemory": used, "directMemory": 0}


async def _status(request: Request) -> Response:
    module = {"name": "druidroles", "artifact": "coordserver", "version": package_version()}
    return JSONResponse({"version": DRUID_VERSION, "modules": [module], "memory": _memory()})


async def _health(request: Request) -> Response:
    return JSONResponse(True)


def status_routes(self_discovered: Callable[[], bool], properties: Mapping[str, str]) -> list[BaseRoute]:
    """`/status` and below, as on every Druid process (Druid documentation, "Service status API").

    `self_discovered` says whether the process sees its own announcement in the tree.
    """

    async def discovered_status(request: Request) -> Response:
        return JSONResponse({"selfDiscovered": self_discovered()})

    async def discovered(request: Request) -> Response:
        return Response(status_code=200 if self_discovered() else 503, media_type="application/json")

    async def show_properties(request: Request) -> Response:
        return JSONResponse(dict(properties))

    return [
        Route("/status", _status),
        Route("/status/health", _health),
        Route("/status/properties", show_properties),
        Route("/status/selfDiscovered/status", discovered_status),
        Route("/status/selfDiscovered", discovered),
    ]


async def _handle_http(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return error_response(DruidHttpError(error.status_code, error.detail))
    raise error


def make_app(routes: Sequence[BaseRoute], guard: Callable[[ASGIApp], ASGIApp] | None = None) -> Starlette:
    """The application for some routes. Errors that no route answers become Druid's error body.

    `guard` wraps the application and refuses requests that are not allowed. A slash at the end of a path has no
    meaning, as in Druid. There is no redirect to the path without it: behind a Router it would lead the client to an
    address that the client does not know.
    """
    guards = [] if guard is None else [Middleware(guard)]
    app = Starlette(
        routes=list(routes),
        middleware=[*guards, Middleware(RefuseNul), Middleware(Compressing)],
        exception_handlers={
            DruidHttpError: handle_druid_error,
            404: handle_not_found,
            405: handle_method_not_allowed,
            HTTPException: _handle_http,
            500: handle_unexpected,
        },
    )

    async def without_slash(scope: Scope, receive: Receive, send: Send) -> None:
        path, raw = scope.get("path", ""), scope.get("raw_path", b"")
        if scope["type"] == "http" and path.rstrip("/") and path.endswith("/") and raw.endswith(b"/"):
            await app.router({**scope, "path": path.rstrip("/"), "raw_path": raw.rstrip(b"/")}, receive, send)
            return
        await nowhere(scope, receive, send)

    nowhere = app.router.default
    app.router.redirect_slashes = False
    app.router.default = without_slash
    return app
