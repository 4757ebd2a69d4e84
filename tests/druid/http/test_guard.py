"""What a role refuses before any resource sees it: every method × every resource × each sign of a stranger."""

from __future__ import annotations

from functools import partial

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from druidroles.http.app import make_app
from druidroles.http.guard import JSON_TYPES, QUERY_TYPES, Guard, HttpAccess

REACHED: list[str] = []
METHODS = ["GET", "POST", "PUT", "DELETE"]
PATHS = (
    "/status",
    "/druid/v2",
    "/druid/v2/sql",
    "/druid/indexer/v1/task",
    "/druid/coordinator/v1/rules/x",
    "/druid/worker/v1/disable",
)
JSON = "application/json"


async def reached(request: Request) -> Response:
    REACHED.append(request.url.path)
    return JSONResponse(len(await request.body()))


def client(access: HttpAccess, types: frozenset[str] = JSON_TYPES, host: str = "127.0.0.1") -> httpx2.AsyncClient:
    guard = partial(Guard, access=access, own=("historical-1",), types=types)
    app = make_app([Route("/{rest:path}", reached, methods=METHODS)], guard)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=f"http://{host}:8083")


async def status(http: httpx2.AsyncClient, method: str, path: str, body: bytes = b"", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await http.request(method, path, content=body, headers=named)).status_code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
async def test_no_page_of_a_stranger_is_answered(method: str, path: str) -> None:
    REACHED.clear()
    async with client(HttpAccess()) as http:
        for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:8083"}):
            assert await status(http, method, path, b"{}", Content_Type=JSON, **foreign) == 403
        assert REACHED == []
        assert await status(http, method, path, b"{}", Content_Type=JSON) == 200
        assert await status(http, method, path, b"{}", Content_Type=JSON, Origin="http://127.0.0.1:8083") == 200
        assert await status(http, method, path, b"{}", Content_Type=JSON, Host="historical-1:8083") == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_body_is_json_and_says_so(method: str, path: str) -> None:
    async with client(HttpAccess()) as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "jsonx"):
            assert await status(http, method, path, b"{}", Content_Type=kind) == 415, kind
        for kind in (JSON, "application/json; charset=utf-8", "Application/JSON"):
            assert await status(http, method, path, b"{}", Content_Type=kind) == 200, kind
        assert await status(http, method, path, b"{}") == 200
        assert await status(http, method, path, Content_Type="text/plain") == 200


async def test_a_router_passes_smile_on_and_no_text() -> None:
    async with client(HttpAccess(), QUERY_TYPES) as http:
        assert await status(http, "POST", "/druid/v2", b":)", Content_Type="application/x-jackson-smile") == 200
        assert await status(http, "POST", "/druid/v2", b"{}", Content_Type="text/plain") == 415


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
async def test_where_credentials_are_configured_changes_need_them(method: str, path: str) -> None:
    access = HttpAccess(credentials="druid:geheim-ü")
    reads = method == "GET" or (method == "POST" and path.startswith("/druid/v2"))
    async with client(access) as http:
        expected = 200 if reads else 401
        assert await status(http, method, path, b"{}", Content_Type=JSON) == expected
        wrong = HttpAccess(credentials="druid:wrong").headers()["authorization"]
        assert await status(http, method, path, b"{}", Content_Type=JSON, Authorization=wrong) == expected
        assert await status(http, method, path, b"{}", Content_Type=JSON, **access.headers()) == 200


async def test_a_refusal_has_druids_form_and_a_challenge() -> None:
    async with client(HttpAccess(credentials="a:b")) as http:
        answer = await http.post("/druid/indexer/v1/task", json={})
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert set(answer.json()) == {"error", "errorMessage", "errorClass", "host"}


async def test_allowed_hosts_are_names_of_ours_and_origins() -> None:
    async with client(HttpAccess(allowed_hosts=("Console.example",)), host="console.example") as http:
        assert await status(http, "GET", "/status") == 200
        assert await status(http, "POST", "/druid/v2", Host="127.0.0.1", Origin="http://console.example:80") == 200


def test_a_tasks_process_inherits_it() -> None:
    for access in (HttpAccess(), HttpAccess(allowed_hosts=("a", "b"), credentials="u:p:q")):
        assert HttpAccess.of_environment(access.environment()) == access
