"""%00 in a path: 400 for every route of every role that has a name in its path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from role_routes import ROLES, routes_of
from starlette.routing import BaseRoute, Route

from druidroles.http.app import make_app
from druidroles.model.server import NodeRole


def _filled(routes: list[BaseRoute], name: str) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Route) and "{" in route.path:
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield method, re.sub(r"\{[^}]*\}", name, route.path)


@pytest.mark.parametrize("name", ["%00", "a%00b"])
@pytest.mark.parametrize("role", ROLES, ids=lambda r: r.value)
async def test_a_nul_in_a_path_is_a_bad_request(role: NodeRole, name: str, tmp_path: Path) -> None:
    routes = routes_of(role, tmp_path)
    wrong = []
    transport = httpx2.ASGITransport(make_app(routes), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://role") as http:
        for method, path in _filled(routes, name):
            answer = await http.request(method, path)
            if answer.status_code != 400 or "U+0000" not in answer.json()["errorMessage"]:
                wrong.append((method, path, answer.status_code))
    assert wrong == []
