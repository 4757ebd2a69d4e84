"""The Coordinator over HTTP: its dynamic configuration."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.coordinator.api.audit import audit_of, history
from druidroles.coordinator.api.leader_only import CoordinatorState, OnLeader, on_leader
from druidroles.coordinator.api.parameters import ROOT
from druidroles.coordinator.dynamic_config import CONFIG_NAME, DynamicConfig
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.body import read_json
from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import ModelError
from druidroles.model.names import check_name

# Keys of Druid's that mean nothing here, with its defaults: who reads the configuration finds them.
_MEANINGLESS = {
    "mergeBytesLimit": 524_288_000,
    "mergeSegmentsLimit": 100,
    "killPendingSegmentsSkipList": [],
    "debugDimensions": None,
}


async def _config(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse({**_MEANINGLESS, **leading.config.to_json()})


async def _set_config(request: Request, leading: CoordinatorTerm) -> Response:
    """What the body leaves out stays as it is, as in Druid. It is effective when this is answered."""
    try:
        config = DynamicConfig.parse(await read_json(request), leading.config)
        for name in {*config.kill_data_sources} - {*leading.config.kill_data_sources}:
            check_name(name, "killDataSourceWhitelist: the datasource")
        for name in {*config.decommissioning_nodes} - {*leading.config.decommissioning_nodes}:
            check_name(name, "decommissioningNodes: the server")
    except ModelError as error:
        raise DruidHttpError(400, str(error)) from error
    await leading.store.set_config(leading.leader, CONFIG_NAME, config.to_json(), audit_of(request))
    await leading.reader.refresh()
    return Response()


async def _config_history(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse(await history(request, leading.store, "config", CONFIG_NAME))


def config_routes(contender: CoordinatorState) -> list[BaseRoute]:
    """`/config` and its history."""
    handlers: list[tuple[str, str, OnLeader]] = [
        ("GET", "/config", _config),
        ("POST", "/config", _set_config),
        ("GET", "/config/history", _config_history),
    ]
    return [Route(ROOT + path, on_leader(contender, handle), methods=[method]) for method, path, handle in handlers]
