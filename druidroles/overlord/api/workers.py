"""The Overlord's HTTP API about workers: who there is, how tasks are spread over them, taking one out and in."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from druidroles.http.body import read_json_object
from druidroles.http.errors import DruidHttpError
from druidroles.metadata import Audit, AuditEntry
from druidroles.model.decode import ModelError, whole_number
from druidroles.model.interval import Interval
from druidroles.model.iso import parse_iso
from druidroles.overlord.api.listing import worker_json
from druidroles.overlord.planning.worker_config import NAME, WorkerConfig
from druidroles.overlord.term import OverlordTerm

Handler = Callable[[Request, OverlordTerm], Awaitable[Response]]
HISTORY_MAX = 1_000


def worker_handlers() -> list[tuple[str, Handler, str]]:
    """Path below `/druid/indexer/v1`, handler and method of each."""
    return [
        ("/workers", _workers, "GET"),
        ("/totalWorkerCapacity", _capacity, "GET"),
        ("/scaling", _scaling, "GET"),
        ("/worker", _config, "GET"),
        ("/worker", _set_config, "POST"),
        ("/worker/history", _history, "GET"),
        ("/worker/{host}/enable", _turn("enable"), "POST"),
        ("/worker/{host}/disable", _turn("disable"), "POST"),
    ]


async def _workers(request: Request, leading: OverlordTerm) -> Response:
    found: list[dict[str, Any]] = []
    for load in leading.worker_loads():
        host = load.worker.host
        running = [task for (worker, task), said in leading.tree.statuses.items() if worker == host]
        completed = leading.last_completed_ms.get(host, 0)
        found.append(worker_json(load, running, completed, leading.barred_until(host)))
    return JSONResponse(found)


async def _capacity(request: Request, leading: OverlordTerm) -> Response:
    loads = leading.worker_loads()
    return JSONResponse(
        {
            "currentClusterCapacity": sum(load.worker.capacity for load in loads),
            "maximumCapacityWithAutoScale": -1,
            "usedClusterCapacity": sum(load.used for load in loads),
        }
    )


async def _scaling(request: Request, leading: OverlordTerm) -> Response:
    # Nothing scales by itself here; Druid answers the same where no autoscaler is configured.
    return Response(media_type="application/json")


async def _config(request: Request, leading: OverlordTerm) -> Response:
    """What an operator has set; an empty body where that is nothing, as in Druid."""
    given = leading.config.json
    return Response(media_type="application/json") if given is None else JSONResponse(dict(given))


async def _set_config(request: Request, leading: OverlordTerm) -> Response:
    config = WorkerConfig.parse_new(await read_json_object(request))
    author, comment = request.headers.get("X-Druid-Author", ""), request.headers.get("X-Druid-Comment", "")
    await leading.configure(config, Audit(author=author, comment=comment))
    return Response()


async def _history(request: Request, leading: OverlordTerm) -> Response:
    given, interval = request.query_params.get("count"), request.query_params.get("interval")
    count = HISTORY_MAX if given is None else whole_number(given)
    if count is None or count <= 0:
        raise ModelError(f"count {str(given)[:40]!r} is not a positive number")
    within = None if interval is None else Interval.parse(interval.replace("_", "/"))
    most = min(count, HISTORY_MAX)
    entries = await leading.store.audit_entries("config", NAME, most if within is None else HISTORY_MAX)
    taken = [entry for entry in entries if within is None or within.contains_ms(parse_iso(entry.created_date))]
    return JSONResponse([_audit_json(entry) for entry in taken[:most]])


def _audit_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "type": entry.key,
        "auditInfo": {"author": entry.author, "comment": entry.comment, "ip": ""},
        "payload": json.dumps(entry.payload, separators=(",", ":")),
        "auditTime": entry.created_date,
    }


def _turn(what: str) -> Handler:
    """Pass "enable" or "disable" on to a worker, with our epoch."""

    async def handler(request: Request, leading: OverlordTerm) -> Response:
        host = request.path_params["host"]
        if host not in leading.tree.workers:
            raise DruidHttpError(404, f"there is no worker {host}", error="Not found")
        try:
            answer = await leading.commands.post(host, f"/{what}")
        except httpx2.HTTPError as fault:
            raise DruidHttpError(502, f"worker {host} does not answer: {fault!r}", error="Bad gateway") from None
        return Response(answer.content, answer.status_code, media_type="application/json")

    return handler
