"""The Coordinator over HTTP: datasources, intervals and segments as the servers of the cluster serve them.

What nobody serves is not there, whatever the metadata store holds (see resources_metadata.py for that side).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.coordinator.api.leader_only import CoordinatorState, OnLeader, on_leader
from druidroles.coordinator.api.parameters import ROOT, has_flag, to_interval
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import whole_number
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment

SLICE = 1_000  # copies looked at between two checkpoints


@attrs.define
class Served:
    """A segment and who serves it, in no order."""

    segment: DataSegment
    servers: list[str] = attrs.field(factory=list)
    tiers: list[str] = attrs.field(factory=list)


Segments = Mapping[str, Served]


async def served(leading: CoordinatorTerm, data_source: str | None = None, within: Interval | None = None) -> Segments:
    """The served segments by id: all, of one datasource, or those that lie within an interval."""
    found: dict[str, Served] = {}
    for server in list(leading.view.cluster.servers.values()):
        for index, segment in enumerate(list(server.served.values())):
            if index % SLICE == 0:
                await trio.lowlevel.checkpoint()
            if data_source not in (None, segment.data_source) or not (
                within is None or within.contains(segment.interval)
            ):
                continue
            one = found.setdefault(segment.id, Served(segment))
            one.servers.append(server.name)
            one.tiers.append(server.tier)
    return found


def _by_data_source(segments: Segments) -> dict[str, list[Served]]:
    found: dict[str, list[Served]] = {}
    for one in segments.values():
        found.setdefault(one.segment.data_source, []).append(one)
    return dict(sorted(found.items()))


def _newest_first(segments: Segments) -> dict[str, list[Served]]:
    """By interval."""
    found: dict[Interval, list[Served]] = {}
    for one in segments.values():
        found.setdefault(one.segment.interval, []).append(one)
    return {str(interval): found[interval] for interval in sorted(found, reverse=True)}


def _size_and_count(some: Iterable[Served]) -> dict[str, int]:
    sizes = [one.segment.size for one in some]
    return {"size": sum(sizes), "count": len(sizes)}


def _summary(some: list[Served]) -> dict[str, Any]:
    tiers: dict[str, dict[str, int]] = {}
    for one in some:
        for tier in set(one.tiers):
            told = tiers.setdefault(tier, {"size": 0, "replicatedSize": 0, "segmentCount": 0})
            told["size"] += one.segment.size
            told["replicatedSize"] += one.segment.size * one.tiers.count(tier)
            told["segmentCount"] += 1
    return {
        "tiers": tiers,
        "segments": {
            "count": len(some),
            "minTime": format_iso(min(one.segment.interval.start_ms for one in some)),
            "maxTime": format_iso(max(one.segment.interval.end_ms for one in some)),
            "size": sum(one.segment.size for one in some),
            "replicatedSize": sum(one.segment.size * len(one.tiers) for one in some),
        },
    }


def _full(name: str, some: Iterable[Served]) -> dict[str, Any]:
    return {"name": name, "properties": {}, "segments": [one.segment.to_json() for one in some]}


def _with_servers(one: Served) -> dict[str, Any]:
    return {"metadata": one.segment.to_json(), "servers": sorted(one.servers)}


async def _datasources(request: Request, leading: CoordinatorTerm) -> Response:
    sources = _by_data_source(await served(leading))
    if has_flag(request, "full"):
        return JSONResponse([_full(name, some) for name, some in sources.items()])
    if has_flag(request, "simple"):
        return JSONResponse([{"name": name, "properties": _summary(some)} for name, some in sources.items()])
    return JSONResponse(list(sources))


async def _of(request: Request, leading: CoordinatorTerm) -> Segments:
    return await served(leading, request.path_params["ds"])


async def _datasource(request: Request, leading: CoordinatorTerm) -> Response:
    some = list((await _of(request, leading)).values())
    if not some:
        return Response(status_code=204)
    return JSONResponse(_full(request.path_params["ds"], some) if has_flag(request, "full") else _summary(some))


async def _tiers_of(request: Request, leading: CoordinatorTerm) -> Response:
    some = await _of(request, leading)
    tiers = sorted({tier for one in some.values() for tier in one.tiers})
    return JSONResponse(tiers) if tiers else Response(status_code=204)


async def _segments_of(request: Request, leading: CoordinatorTerm) -> Response:
    some = await _of(request, leading)
    if not some:
        return Response(status_code=204)
    if has_flag(request, "full"):
        return JSONResponse([one.segment.to_json() for _, one in sorted(some.items())])
    return JSONResponse(sorted(some))


async def _segment_of(request: Request, leading: CoordinatorTerm) -> Response:
    one = (await _of(request, leading)).get(request.path_params["segment"])
    return Response(status_code=204) if one is None else JSONResponse(_with_servers(one))


async def _intervals_of(request: Request, leading: CoordinatorTerm) -> Response:
    return _told(request, await _of(request, leading))


async def _interval_of(request: Request, leading: CoordinatorTerm) -> Response:
    within = to_interval("the interval in the path", request.path_params["interval"])
    some = await served(leading, request.path_params["ds"], within)
    if has_flag(request, "full") or has_flag(request, "simple"):
        return _told(request, some)
    return JSONResponse(sorted(some))


def _told(request: Request, some: Segments) -> Response:
    """Intervals, the newest first: their names, simple or full."""
    if not some:
        return Response(status_code=204)
    intervals = _newest_first(some)
    if has_flag(request, "full"):
        return JSONResponse(
            {name: {one.segment.id: _with_servers(one) for one in within} for name, within in intervals.items()}
        )
    if has_flag(request, "simple"):
        return JSONResponse({name: _size_and_count(within) for name, within in intervals.items()})
    return JSONResponse(list(intervals))


async def _intervals(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse(_intervals_by_source(await served(leading)))


def _intervals_by_source(segments: Segments) -> dict[str, Any]:
    return {
        name: {
            source: _size_and_count(some)
            for source, some in _by_data_source({one.segment.id: one for one in within}).items()
        }
        for name, within in _newest_first(segments).items()
    }


async def _interval(request: Request, leading: CoordinatorTerm) -> Response:
    within = to_interval("the interval in the path", request.path_params["interval"])
    some = await served(leading, within=within)
    if has_flag(request, "full"):
        return JSONResponse(_intervals_by_source(some))
    if has_flag(request, "simple"):
        return JSONResponse({name: _size_and_count(inner) for name, inner in _newest_first(some).items()})
    return JSONResponse(_size_and_count(some.values()))


async def _server_segments(request: Request, leading: CoordinatorTerm) -> Response:
    server = leading.view.cluster.servers.get(request.path_params["server"])
    if server is None:
        return Response(status_code=204)
    if has_flag(request, "full"):
        return JSONResponse([segment.to_json() for segment in server.served.values()])
    return JSONResponse(sorted(server.served))


async def _server_segment(request: Request, leading: CoordinatorTerm) -> Response:
    server = leading.view.cluster.servers.get(request.path_params["server"])
    segment = None if server is None else server.served.get(request.path_params["segment"])
    return Response(status_code=204) if segment is None else JSONResponse(segment.to_json())


async def _tier(request: Request, leading: CoordinatorTerm) -> Response:
    """The datasources of one tier; simple: {datasource: {interval: size and count}}."""
    tier = request.path_params["tier"]
    some = {segment_id: one for segment_id, one in (await served(leading)).items() if tier in one.tiers}
    sources = _by_data_source(some)
    if not has_flag(request, "simple"):
        return JSONResponse(list(sources))
    told = {
        name: {
            interval: _size_and_count(inner)
            for interval, inner in _newest_first({one.segment.id: one for one in of_source}).items()
        }
        for name, of_source in sources.items()
    }
    return JSONResponse(told)


async def _handoff_complete(request: Request, leading: CoordinatorTerm) -> Response:
    """Whether a Historical serves what a task has built, so that the task may go (or something newer does)."""
    query = request.query_params
    interval = to_interval("interval", query.get("interval"))
    version, partition = query.get("version"), whole_number(query.get("partitionNumber", ""))
    if version is None or partition is None:
        raise DruidHttpError(400, "version and partitionNumber are needed, the second a number")
    some = await served(leading, request.path_params["ds"])
    historicals = {server.name for server in leading.view.cluster.servers.values() if server.replicates}
    complete = any(
        one.segment.interval.contains(interval)
        and (
            one.segment.version > version or (one.segment.version == version and one.segment.partition_num == partition)
        )
        and historicals.intersection(one.servers)
        for one in some.values()
    )
    return JSONResponse(complete)


def datasource_routes(contender: CoordinatorState) -> list[BaseRoute]:
    """What the leader tells of what is served."""
    handlers: Mapping[str, OnLeader] = {
        "/datasources": _datasources,
        "/datasources/{ds}": _datasource,
        "/datasources/{ds}/tiers": _tiers_of,
        "/datasources/{ds}/segments": _segments_of,
        "/datasources/{ds}/segments/{segment}": _segment_of,
        "/datasources/{ds}/intervals": _intervals_of,
        "/datasources/{ds}/intervals/{interval}": _interval_of,
        "/datasources/{ds}/handoffComplete": _handoff_complete,
        "/intervals": _intervals,
        "/intervals/{interval}": _interval,
        "/servers/{server}/segments": _server_segments,
        "/servers/{server}/segments/{segment}": _server_segment,
        "/tiers/{tier}": _tier,
    }
    return [Route(ROOT + path, on_leader(contender, handle), methods=["GET"]) for path, handle in handlers.items()]
