"""The Coordinator over HTTP: the rules and their history. What is read here is read anew."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.coordinator.api.audit import audit_of, history
from druidroles.coordinator.api.leader_only import CoordinatorState, OnLeader, on_leader
from druidroles.coordinator.api.parameters import ROOT, has_flag
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.body import read_json
from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import ModelError
from druidroles.model.names import check_name
from druidroles.rules.rules import DEFAULT, check_rules


async def _all_rules(request: Request, leading: CoordinatorTerm) -> Response:
    await leading.reader.refresh()
    return JSONResponse(leading.rules.stored)


async def _rules_of(request: Request, leading: CoordinatorTerm) -> Response:
    await leading.reader.refresh()
    name, stored = request.path_params["ds"], leading.rules.stored
    full = has_flag(request, "full") and name != DEFAULT
    for each in (name, DEFAULT) if full else (name,):
        if each in leading.rules.faults:
            fault = f"the stored rules of {each} cannot be read, so nothing is done there: {leading.rules.faults[each]}"
            raise DruidHttpError(409, f"{fault}; set new ones", error="Unreadable rules")
    rules = list(stored.get(name, []))
    return JSONResponse(rules + stored[DEFAULT] if full else rules)


async def _set_rules(request: Request, leading: CoordinatorTerm) -> Response:
    value = await read_json(request)
    try:
        check_name(request.path_params["ds"], "the datasource in the path")
        check_rules(value)
    except ModelError as error:
        raise DruidHttpError(400, str(error)) from error
    await leading.store.set_rules(leading.leader, request.path_params["ds"], value, audit_of(request))
    await leading.reader.refresh()
    return Response()


async def _rules_history(request: Request, leading: CoordinatorTerm) -> Response:
    return JSONResponse(await history(request, leading.store, "rules", request.path_params.get("ds")))


def rules_routes(contender: CoordinatorState) -> list[BaseRoute]:
    """`/rules` and below."""
    handlers: list[tuple[str, str, OnLeader]] = [
        ("GET", "/rules", _all_rules),
        ("GET", "/rules/history", _rules_history),
        ("GET", "/rules/{ds}", _rules_of),
        ("POST", "/rules/{ds}", _set_rules),
        ("GET", "/rules/{ds}/history", _rules_history),
    ]
    return [Route(ROOT + path, on_leader(contender, handle), methods=[method]) for method, path, handle in handlers]
