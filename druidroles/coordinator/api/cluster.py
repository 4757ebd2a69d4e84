"""The Coordinator over HTTP, `/druid/coordinator/v1`: who leads, servers and their queues, what is loaded, the cluster.

The metadata store's side is in resources_metadata.py. Shapes and status codes are Druid's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.coordination.discovery import DiscoveryView
from druidroles.coordinator.api.leader_only import CoordinatorState, OnLeader, on_leader
from druidroles.coordinator.api.load_status import load_status
from druidroles.coordinator.api.parameters import ROOT, flag_is_true, has_flag, interval_param
from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.settings import wall_ms
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.errors import DruidHttpError
from druidroles.model.server import DiscoveryDruidNode, NodeRole

# Druid leaves these out of `/cluster` where there is none.
_OPTIONAL_ROLES = (NodeRole.MIDDLE_MANAGER, NodeRole.INDEXER, NodeRole.PEON, NodeRole.ROUTER)


def leader_routes(contender: CoordinatorState) -> list[BaseRoute]:
    """What every Coordinator answers, leader or not."""

    async def leader(request: Request) -> Response:
        url = contender.leader_url
        return Response(status_code=204) if url is None else Response(url, media_type="application/json")

    async def is_leader(request: Request) -> Response:
        leads = contender.leading is not None
        return JSONResponse({"leader": leads}, status_code=200 if leads else 404)

    return [Route(f"{ROOT}/leader", leader), Route(f"{ROOT}/isLeader", is_leader)]


async def _loadstatus(request: Request, leading: CoordinatorTerm) -> Response:
    status = await load_status(leading.view, leading.view.used.by_id.values(), wall_ms())
    if has_flag(request, "full"):
        return JSONResponse(status.under_replicated)
    if has_flag(request, "simple"):
        return JSONResponse(status.unavailable)
    return JSONResponse({name: status.percent(name) for name in status.wanted})


async def _loadstatus_of(request: Request, leading: CoordinatorTerm) -> Response:
    """Of one datasource. Without `interval` it is over all of time (Druid: over the last two weeks)."""
    interval = interval_param(request)
    if flag_is_true(request, "forceMetadataRefresh", True):
        await leading.reader.refresh()
    name = request.path_params["ds"]
    used = list(leading.view.used.of_data_source(name))
    segments = [segment for segment in used if interval is None or segment.interval.overlaps(interval)]
    if not used:
        return Response(status_code=204)
    if not segments:
        return Response("No used segment found for the given datasource and interval", media_type="application/json")
    status = await load_status(leading.view, segments, wall_ms())
    if has_flag(request, "full"):
        return JSONResponse(status.under_replicated)
    return JSONResponse({name: status.unavailable[name] if has_flag(request, "simple") else status.percent(name)})


def _queue_ids(server: Server) -> dict[str, Any]:
    return {"segmentsToLoad": list(server.loading), "segmentsToDrop": list(server.dropping)}


def _queue_sizes(server: Server) -> dict[str, Any]:
    return {
        "segmentsToLoad": len(server.loading),
        "segmentsToDrop": len(server.dropping),
        "segmentsToLoadSize": server.loading_bytes,
        "segmentsToDropSize": server.dropping_bytes,
    }


def _queue_segments(server: Server) -> dict[str, Any]:
    return {
        "segmentsToLoad": [order.segment.to_json() for order in server.loading.values()],
        "segmentsToDrop": [server.served[segment_id].to_json() for segment_id in server.dropping],
        "segmentsMarkedToDrop": [server.served[segment_id].to_json() for segment_id in server.leaving],
    }


async def _loadqueue(request: Request, leading: CoordinatorTerm) -> Response:
    shape: Callable[[Server], dict[str, Any]] = _queue_ids
    if has_flag(request, "simple"):
        shape = _queue_sizes
    elif has_flag(request, "full"):
        shape = _queue_segments
    servers = leading.view.cluster.servers
    if has_flag(request, "requests"):
        return JSONResponse({name: leading.requests_to(name) for name in sorted(servers) if servers[name].replicates})
    return JSONResponse({name: shape(server) for name, server in sorted(servers.items()) if server.replicates})


def _server(server: Server) -> dict[str, Any]:
    return {
        "host": server.name,
        "tier": server.tier,
        "type": server.type,
        "priority": server.priority,
        "currSize": server.served_bytes,
        "maxSize": server.max_size,
    }


def _server_full(server: Server) -> dict[str, Any]:
    """As in Druid without `currSize`."""
    told = {key: value for key, value in _server(server).items() if key != "currSize"}
    return {**told, "segments": {segment_id: segment.to_json() for segment_id, segment in server.served.items()}}


async def _servers(request: Request, leading: CoordinatorTerm) -> Response:
    servers = [server for _, server in sorted(leading.view.cluster.servers.items())]
    if has_flag(request, "full"):
        return JSONResponse([_server_full(server) for server in servers])
    if has_flag(request, "simple"):
        return JSONResponse([_server(server) for server in servers])
    return JSONResponse([server.name for server in servers])


async def _one_server(request: Request, leading: CoordinatorTerm) -> Response:
    name = request.path_params["server"]
    server = leading.view.cluster.servers.get(name)
    if server is None:
        return JSONResponse({"error": f"Server [{name}] does not exist."}, status_code=404)
    return JSONResponse(_server(server) if has_flag(request, "simple") else _server_full(server))


async def _tiers(request: Request, leading: CoordinatorTerm) -> Response:
    cluster = leading.view.cluster
    if not has_flag(request, "simple"):
        return JSONResponse(sorted(cluster.tiers()))
    sizes = {
        tier: {
            "currSize": sum(server.served_bytes for server in cluster.tier(tier)),
            "maxSize": sum(server.max_size for server in cluster.tier(tier)),
        }
        for tier in sorted(cluster.tiers())
    }
    return JSONResponse(sizes)


def _cluster_node(node: DiscoveryDruidNode) -> dict[str, Any]:
    ports = {"plaintextPort": node.node.plaintext_port, "tlsPort": node.node.tls_port}
    return {
        "host": node.node.host,
        "service": node.node.service,
        **{name: port for name, port in ports.items() if port >= 0},
    }


def _cluster(discovery: DiscoveryView) -> OnLeader:
    async def cluster(request: Request, leading: CoordinatorTerm) -> Response:
        nodes = {role: [_cluster_node(node) for node in discovery.nodes(role)] for role in NodeRole}
        return JSONResponse(
            {role.value: found for role, found in nodes.items() if found or role not in _OPTIONAL_ROLES}
        )

    return cluster


def _cluster_role(discovery: DiscoveryView) -> OnLeader:
    async def cluster(request: Request, leading: CoordinatorTerm) -> Response:
        name = request.path_params["role"]
        try:
            role = NodeRole(name)
        except ValueError:
            roles = ", ".join(role.value for role in NodeRole)
            raise DruidHttpError(400, f"{name!r} is not a role; they are {roles}") from None
        return JSONResponse([_cluster_node(node) for node in discovery.nodes(role)])

    return cluster


async def _explain(request: Request, leading: CoordinatorTerm) -> Response:
    """Ours: why a segment is not loaded."""
    segment_id = request.path_params["segment"]
    segment = leading.view.used.get(segment_id)
    if segment is None:
        await leading.reader.refresh()
        row = await leading.store.segment(segment_id)
        if row is None:
            raise DruidHttpError(404, f"the metadata store has no segment {segment_id}", error="Not found")
        segment = row[0]
    return JSONResponse(leading.explainer().explain(segment))


def cluster_routes(contender: CoordinatorState, discovery: DiscoveryView) -> list[BaseRoute]:
    """What the leader answers from its picture of the cluster."""
    handlers: Mapping[str, OnLeader] = {
        "/loadstatus": _loadstatus,
        "/datasources/{ds}/loadstatus": _loadstatus_of,
        "/loadqueue": _loadqueue,
        "/servers": _servers,
        "/servers/{server}": _one_server,
        "/tiers": _tiers,
        "/cluster": _cluster(discovery),
        "/cluster/{role}": _cluster_role(discovery),
        "/explain/segments/{segment:path}": _explain,
    }
    return [Route(ROOT + path, on_leader(contender, handle)) for path, handle in handlers.items()]
