"""The Coordinator over HTTP, the metadata store's side: segments, and marking them used or unused.

What is read here is read anew, so that a Broker that was told of a publish finds it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from druidroles.coordinator.api.leader_only import CoordinatorState, OnLeader, on_leader
from druidroles.coordinator.api.parameters import ROOT, count_param, has_flag, interval_param, to_interval
from druidroles.coordinator.duties.overlord_client import OverlordError
from druidroles.coordinator.planning.planner import verdict_of
from druidroles.coordinator.planning.state import PlanningState
from druidroles.coordinator.settings import wall_ms
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.body import read_json, read_json_object
from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import ModelError, only_keys
from druidroles.model.interval import ETERNITY
from druidroles.model.kill import read_versions
from druidroles.model.segment import DataSegment

_SEGMENTS_PER_CHUNK = 50  # about a millisecond of encoding


async def _metadata_datasources(request: Request, leading: CoordinatorTerm) -> Response:
    await leading.reader.refresh()
    used = leading.view.used
    if has_flag(request, "full"):
        return _streamed(_datasource_json(name, list(used.of_data_source(name))) for name in used.data_sources())
    names = set(used.data_sources())
    if has_flag(request, "includeUnused"):
        names.update(await leading.store.data_sources_with_unused())
    return JSONResponse(sorted(names))


def _datasource_json(name: str, segments: list[DataSegment]) -> dict[str, Any]:
    return {"name": name, "properties": {}, "segments": [segment.to_json() for segment in segments]}


async def _metadata_datasource(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse(_datasource_json(request.path_params["ds"], await _used_of(request, leading)))


async def _used_of(request: Request, leading: CoordinatorTerm) -> list[DataSegment]:
    await leading.reader.refresh()
    name = request.path_params["ds"]
    segments = sorted(leading.view.used.of_data_source(name), key=lambda segment: segment.id)
    if not segments:
        raise DruidHttpError(404, f"no used segments of {name}", error="Not found")
    return segments


async def _metadata_segment(request: Request, leading: CoordinatorTerm) -> Response:
    found = await _segment(leading, request.path_params["ds"], request.path_params["segment"])
    return JSONResponse(found.to_json())


async def _metadata_segments_in(request: Request, leading: CoordinatorTerm) -> Response:
    """Those that overlap one of the intervals in the body."""
    value = await read_json(request)
    if not isinstance(value, list):
        raise DruidHttpError(400, "the body is not an array of intervals")
    intervals = [to_interval(f"interval {index}", text) for index, text in enumerate(value)]
    segments = await leading.store.used_segments_in(request.path_params["ds"], intervals)
    if has_flag(request, "full"):
        return _streamed(segment.to_json() for segment in segments)
    return JSONResponse([segment.id for segment in segments])


async def _unused_segments(request: Request, leading: CoordinatorTerm) -> Response:
    """With `interval` those within it; `limit` at most."""
    interval, limit = interval_param(request) or ETERNITY, count_param(request, "limit", 100_000)
    segments = await leading.store.unused_segments_in(request.path_params["ds"], interval)
    return _streamed(segment.to_json() for segment in segments[:limit])


async def _metadata_segments_of(request: Request, leading: CoordinatorTerm) -> Response:
    segments = await _used_of(request, leading)
    if has_flag(request, "full"):
        return _streamed(segment.to_json() for segment in segments)
    return JSONResponse([segment.id for segment in segments])


async def _metadata_segments(request: Request, leading: CoordinatorTerm) -> Response:
    """All used segments, with `?includeOvershadowedStatus` each with that and the copies that its rule wants."""
    await leading.reader.refresh()
    used = leading.view.used
    wanted = set(request.query_params.getlist("datasources"))
    segments = [s for s in used.by_id.values() if not wanted or s.data_source in wanted]
    if not has_flag(request, "includeOvershadowedStatus"):
        return _streamed(segment.to_json() for segment in segments)
    return _streamed(_with_status(leading.view, segment) for segment in segments)


def _with_status(view: PlanningState, segment: DataSegment) -> dict[str, Any]:
    """Druid's SegmentStatusInCluster. Of an overshadowed segment no rule wants anything."""
    verdict = verdict_of(view, segment, wall_ms())
    return {
        **segment.to_json(),
        "overshadowed": view.used.is_overshadowed(segment),
        "replicationFactor": None if verdict is None else sum(verdict.replicas.values()),
    }


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
    async def mark(request: Request, leading: CoordinatorTerm) -> Response:
        changed = await leading.store.set_used_in(leading.leader, request.path_params["ds"], None, used)
        await leading.tell_changed()
        return JSONResponse({"numChangedSegments": changed})

    return mark


def _mark_segment(used: bool) -> OnLeader:
    async def mark(request: Request, leading: CoordinatorTerm) -> Response:
        segment_id = request.path_params["segment"]
        await _check_segment(leading, request.path_params["ds"], segment_id)
        return JSONResponse({"segmentStateChanged": await leading.set_used([segment_id], used) > 0})

    return mark


def _mark_some(used: bool) -> OnLeader:
    """The body names an interval, within which all segments are marked, or those of some versions; or some by id."""

    async def mark(request: Request, leading: CoordinatorTerm) -> Response:
        name, body = request.path_params["ds"], await read_json_object(request)
        try:
            only_keys(body, ("interval", "segmentIds", "versions"), "the body")
            versions = read_versions(body)
        except ModelError as fault:
            raise DruidHttpError(400, str(fault)) from None
        interval, ids = body.get("interval"), body.get("segmentIds")
        if (interval is None) is (ids is None):
            raise DruidHttpError(400, "the body needs either interval or segmentIds")
        if interval is not None:
            span = to_interval("interval", interval)
            changed = await leading.store.set_used_in(leading.leader, name, span, used, versions)
            await leading.tell_changed()
            return JSONResponse({"numChangedSegments": changed})
        if versions is not None:
            raise DruidHttpError(400, "versions goes with interval, not with segmentIds")
        if not isinstance(ids, list) or not ids or not all(isinstance(item, str) for item in ids):
            raise DruidHttpError(400, "segmentIds is not an array of ids")
        for segment_id in ids:
            await _check_segment(leading, name, segment_id)
        return JSONResponse({"numChangedSegments": await leading.set_used(ids, used)})

    return mark


async def _kill_interval(request: Request, leading: CoordinatorTerm) -> Response:
    """Have the unused segments within an interval deleted for good, by a task of the Overlord's."""
    name = request.path_params["ds"]
    interval = to_interval("the interval in the path", request.path_params["interval"])
    task_id = f"api-issued_kill_{name}_{uuid.uuid4().hex[:8]}"
    try:
        await leading.overlord.submit_kill(task_id, name, interval)
    except OverlordError as error:
        raise DruidHttpError(503, str(error), error="Overlord unavailable") from error
    return Response()


async def _check_segment(leading: CoordinatorTerm, data_source: str, segment_id: str) -> None:
    """404 unless the datasource has the segment, be its payload readable or not."""
    if await leading.store.data_source_of(segment_id) != data_source:
        raise DruidHttpError(404, f"{data_source} has no segment {segment_id}", error="Not found")


async def _segment(leading: CoordinatorTerm, data_source: str, segment_id: str) -> DataSegment:
    row = await leading.store.segment(segment_id)
    if row is None or row[0].data_source != data_source:
        raise DruidHttpError(404, f"{data_source} has no segment {segment_id}", error="Not found")
    return row[0]


def metadata_routes(contender: CoordinatorState) -> list[BaseRoute]:
    """What the leader answers from the metadata store, and what it changes there."""
    handlers: list[tuple[str, str, OnLeader]] = [
        ("GET", "/metadata/datasources", _metadata_datasources),
        ("GET", "/metadata/datasources/{ds}", _metadata_datasource),
        ("GET", "/metadata/datasources/{ds}/segments", _metadata_segments_of),
        ("POST", "/metadata/datasources/{ds}/segments", _metadata_segments_in),
        ("GET", "/metadata/datasources/{ds}/segments/{segment}", _metadata_segment),
        ("GET", "/metadata/segments", _metadata_segments),
        ("GET", "/datasources/{ds}/unusedSegments", _unused_segments),
        ("POST", "/datasources/{ds}", _mark_datasource(True)),
        ("DELETE", "/datasources/{ds}", _mark_datasource(False)),
        ("POST", "/datasources/{ds}/markUsed", _mark_some(True)),
        ("POST", "/datasources/{ds}/markUnused", _mark_some(False)),
        ("POST", "/datasources/{ds}/segments/{segment}", _mark_segment(True)),
        ("DELETE", "/datasources/{ds}/segments/{segment}", _mark_segment(False)),
        ("DELETE", "/datasources/{ds}/intervals/{interval}", _kill_interval),
    ]
    return [Route(ROOT + path, on_leader(contender, handle), methods=[method]) for method, path, handle in handlers]
