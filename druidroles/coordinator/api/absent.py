"""The Coordinator over HTTP: lookups and automatic compaction, of which there is nothing.

Questions get the answer of a Druid in which nothing of it is configured. Its processes ask for lookups when they start,
and try for minutes if the answer is an error other than 404. What would configure something is refused by name.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.coordinator.api.leader_only import CoordinatorState, OnLeader, on_leader
from druidroles.coordinator.api.parameters import ROOT, flag_is_true
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.errors import DruidHttpError

# CoordinatorCompactionConfig as it is by default.
_COMPACTION = {
    "compactionConfigs": [],
    "compactionTaskSlotRatio": 0.1,
    "maxCompactionTaskSlots": 2**31 - 1,
    "useAutoScaleSlots": False,
}


def _not_found(message: str | None = None) -> Response:
    if message is None:
        return Response(status_code=404, media_type="application/json")
    return JSONResponse({"error": message}, status_code=404)


async def _lookup_tiers(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse([]) if flag_is_true(request, "discover", False) else _not_found()


async def _no_lookups(request: Request, leading: CoordinatorTerm) -> Response:
    return _not_found("No lookups found")


async def _compaction(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse(_COMPACTION)


async def _no_compaction_of(request: Request, leading: CoordinatorTerm) -> Response:
    return _not_found()


async def _no_history(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse([])


async def _compaction_status(request: Request, leading: CoordinatorTerm) -> Response:
    if request.query_params.get("dataSource"):
        return _not_found("unknown dataSource")
    return JSONResponse({"latestStatus": []})


async def _compaction_progress(request: Request, leading: CoordinatorTerm) -> Response:
    if not request.query_params.get("dataSource"):
        return JSONResponse({"error": "No DataSource specified"}, status_code=400)
    return _not_found("unknown dataSource")


def _refuse(what: str) -> OnLeader:
    async def refuse(request: Request, leading: CoordinatorTerm) -> Response:
        raise DruidHttpError(501, f"{what}: not supported by this Coordinator", error="Unsupported operation")

    return refuse


def absent_routes(contender: CoordinatorState) -> list[BaseRoute]:
    """`/lookups`, `/config/compaction` and `/compaction`."""
    lookups, compaction = _refuse("lookups"), _refuse("automatic compaction")
    handlers: list[tuple[str, str, OnLeader]] = [
        ("GET", "/lookups/config", _lookup_tiers),
        ("GET", "/lookups/{rest:path}", _no_lookups),
        ("DELETE", "/lookups/config/{rest:path}", _no_lookups),
        ("POST", "/lookups/{rest:path}", lookups),
        ("GET", "/config/compaction", _compaction),
        ("GET", "/config/compaction/history", _no_history),
        ("GET", "/config/compaction/{ds}", _no_compaction_of),
        ("GET", "/config/compaction/{ds}/history", _no_history),
        ("DELETE", "/config/compaction/{ds}", _no_compaction_of),
        ("POST", "/config/compaction", compaction),
        ("POST", "/config/compaction/{rest:path}", compaction),
        ("GET", "/compaction/status", _compaction_status),
        ("GET", "/compaction/progress", _compaction_progress),
        ("POST", "/compaction/{rest:path}", compaction),
    ]
    return [Route(ROOT + path, on_leader(contender, handle), methods=[method]) for method, path, handle in handlers]
