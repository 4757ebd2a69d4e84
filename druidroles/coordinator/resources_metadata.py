"""The Coordinator over HTTP, the metadata store's side: segments, rules, and marking segments used or unused.

What is read here is read anew, so that a Broker that was told of a publish finds it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from druidroles.coordinator.leading import Leading
from druidroles.coordinator.redirect import Contender, OnLeader, on_leader
from druidroles.coordinator.resources import ROOT, has_flag
from druidroles.http.body import read_json
from druidroles.http.errors import DruidHttpError
from druidroles.metadata import Audit, AuditEntry
from druidroles.model.decode import ModelError
from druidroles.model.segment import DataSegment
from druidroles.rules.rules import DEFAULT, parse_rules

_SEGMENTS_PER_CHUNK = 50  # about a millisecond of encoding
# What of Druid's dynamic configuration there is here, with our defaults.
_CONFIG = {"millisToWaitBeforeDeleting": 900_000, "replicationThrottleLimit": 500, "decommissioningNodes": []}


def _audit(request: Request) -> Audit:
    return Audit(author=request.headers.get("X-Druid-Author", ""), comment=request.headers.get("X-Druid-Comment", ""))


# -- segments ---------------------------------------------------------------------------------------------------------


async def _metadata_datasources(request: Request, leading: Leading) -> Response:
    await leading.reader.refresh()
    return JSONResponse(leading.view.used.data_sources())


async def _metadata_segments_of(request: Request, leading: Leading) -> Response:
    await leading.reader.refresh()
    segments = sorted(leading.view.used.of_data_source(request.path_params["ds"]), key=lambda segment: segment.id)
    if not segments:
        raise DruidHttpError(404, f"no used segments of {request.path_params['ds']}", error="Not found")
    if has_flag(request, "full"):
        return _streamed(segment.to_json() for segment in segments)
    return JSONResponse([segment.id for segment in segments])


async def _metadata_segments(request: Request, leading: Leading) -> Response:
    """All used segments, with `?includeOvershadowedStatus` each with `overshadowed` added."""
    await leading.reader.refresh()
    used = leading.view.used
    wanted = set(request.query_params.getlist("datasources"))
    segments = [s for s in used.by_id.values() if not wanted or s.data_source in wanted]
    if not has_flag(request, "includeOvershadowedStatus"):
        return _streamed(segment.to_json() for segment in segments)
    return _streamed({**segment.to_json(), "overshadowed": used.is_overshadowed(segment)} for segment in segments)


def _streamed(items: Iterable[dict[str, Any]]) -> Response:
    """A JSON array, encoded piece by piece so that a hundred thousand segments hold up nobody."""

    async def chunks() -> AsyncIterator[bytes]:
        chunk: list[str] = []
        separator = "["
        for item in items:
            chunk.append(json.dumps(item, separators=(",", ":"), ensure_ascii=False))
            if len(chunk) == _SEGMENTS_PER_CHUNK:
                await trio.lowlevel.checkpoint()
                yield (separator + ",".join(chunk)).encode()
                separator = ","
                chunk.clear()
        start = separator if chunk or separator == "[" else ""
        yield (start + ",".join(chunk) + "]").encode()

    return StreamingResponse(chunks(), media_type="application/json")


def _mark_datasource(used: bool) -> OnLeader:
    async def mark(request: Request, leading: Leading) -> Response:
        changed = await leading.store.set_used_in(leading.leader, request.path_params["ds"], None, used)
        await leading.tell_changed()
        return JSONResponse({"numChangedSegments": changed})

    return mark


def _mark_segment(used: bool) -> OnLeader:
    async def mark(request: Request, leading: Leading) -> Response:
        found = await _segment(leading, request.path_params["ds"], request.path_params["segment"])
        return JSONResponse({"segmentStateChanged": await leading.set_used([found.id], used) > 0})

    return mark


async def _segment(leading: Leading, data_source: str, segment_id: str) -> DataSegment:
    row = await leading.store.segment(segment_id)
    if row is None or row[0].data_source != data_source:
        raise DruidHttpError(404, f"{data_source} has no segment {segment_id}", error="Not found")
    return row[0]


# -- rules ------------------------------------------------------------------------------------------------------------


async def _all_rules(request: Request, leading: Leading) -> Response:
    await leading.reader.refresh()
    return JSONResponse(leading.rules.stored)


async def _rules_of(request: Request, leading: Leading) -> Response:
    await leading.reader.refresh()
    name, stored = request.path_params["ds"], leading.rules.stored
    rules = list(stored.get(name, []))
    return JSONResponse(rules + stored[DEFAULT] if has_flag(request, "full") and name != DEFAULT else rules)


async def _set_rules(request: Request, leading: Leading) -> Response:
    value = await read_json(request)
    try:
        parse_rules(value)
    except ModelError as error:
        raise DruidHttpError(400, str(error)) from error
    await leading.store.set_rules(leading.leader, request.path_params["ds"], value, _audit(request))
    await leading.reader.refresh()
    return Response()


async def _rules_history(request: Request, leading: Leading) -> Response:
    count = request.query_params.get("count", "25")
    if not count.isdigit() or int(count) == 0:
        raise DruidHttpError(400, "count is not a positive number")
    entries = await leading.store.audit_entries("rules", request.path_params.get("ds"), int(count))
    return JSONResponse([_audit_json(entry) for entry in entries])


def _audit_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "type": entry.type,
        "auditInfo": {"author": entry.author, "comment": entry.comment, "ip": ""},
        "payload": json.dumps(entry.payload, separators=(",", ":")),
        "auditTime": entry.created_date,
    }


async def _config(request: Request, leading: Leading) -> Response:
    return JSONResponse(_CONFIG)


def metadata_routes(contender: Contender) -> list[BaseRoute]:
    """What the leader answers from the metadata store, and what it changes there."""
    handlers: list[tuple[str, str, OnLeader]] = [
        ("GET", "/metadata/datasources", _metadata_datasources),
        ("GET", "/metadata/datasources/{ds}/segments", _metadata_segments_of),
        ("GET", "/metadata/segments", _metadata_segments),
        ("POST", "/datasources/{ds}", _mark_datasource(True)),
        ("DELETE", "/datasources/{ds}", _mark_datasource(False)),
        ("POST", "/datasources/{ds}/segments/{segment}", _mark_segment(True)),
        ("DELETE", "/datasources/{ds}/segments/{segment}", _mark_segment(False)),
        ("GET", "/rules", _all_rules),
        ("GET", "/rules/history", _rules_history),
        ("GET", "/rules/{ds}", _rules_of),
        ("POST", "/rules/{ds}", _set_rules),
        ("GET", "/rules/{ds}/history", _rules_history),
        ("GET", "/config", _config),
    ]
    return [Route(ROOT + path, on_leader(contender, handle), methods=[method]) for method, path, handle in handlers]
