"""The HTTP server of a role: it answers, and it ends when told to, whatever its clients do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
import trio.testing
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from druidroles.http.app import DRUID_VERSION, make_app, status_routes
from druidroles.http.body import read_json_object
from druidroles.http.disconnect import cancel_when_gone
from druidroles.http.errors import DruidHttpError
from druidroles.http.serve import HttpLimits, HttpServer

SENT = [0]


class Endless:
    """Chunks without end. Not a generator: a cancelled response would leave one to the collector."""

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        SENT[0] += 1
        await trio.lowlevel.checkpoint()
        return b"x" * 65536


async def endless(request: Request) -> Response:
    """A body that never ends."""
    return StreamingResponse(Endless())


async def echo(request: Request) -> Response:
    """The JSON object that was sent, if it is small."""
    return JSONResponse(await read_json_object(request, limit=100))


async def broken(request: Request) -> Response:
    """Our own fault."""
    raise ZeroDivisionError("by nothing")


async def refused(request: Request) -> Response:
    """An error with Druid's body."""
    raise DruidHttpError(400, "field x", error="Bad request", error_class="E", host="h:1")


class Hanging(Response):
    """A first byte, and no more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await trio.sleep_forever()


async def hang(request: Request) -> Response:
    """See Hanging."""
    return Hanging()


class Watching(Response):
    """An answer that is given up when the client goes."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_gone, self._request, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()


async def watching(request: Request) -> Response:
    """See Watching."""
    return Watching(request)


ROUTES: list[BaseRoute] = [
    Route("/endless", endless),
    Route("/echo", echo, methods=["POST"]),
    Route("/broken", broken),
    Route("/hang", hang),
    Route("/watching", watching),
    Route("/refused", refused),
]


@asynccontextmanager
async def serving(limits: HttpLimits | None = None) -> AsyncIterator[tuple[HttpServer, str]]:
    """A server on a free port, and its URL."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = HttpServer(make_app([*status_routes(lambda: False, {"a": "b"}), *ROUTES]), listeners, limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_status_routes_answer_as_on_every_druid_process() -> None:
    """Druid documentation, "Service status API"."""
    async with serving() as (_, url), httpx2.AsyncClient(base_url=url) as client:
        assert (await client.get("/status/health")).json() is True
        status = (await client.get("/status")).json()
        assert set(status) == {"version", "modules", "memory"}
        assert status["version"] == DRUID_VERSION == "28.0.0"
        assert [module["artifact"] for module in status["modules"]] == ["coordserver"]
        answer = await client.get("/status/selfDiscovered")
        assert (answer.status_code, answer.content) == (503, b"")
        assert (await client.get("/status/selfDiscovered/status")).json() == {"selfDiscovered": False}
        assert (await client.get("/status/properties")).json() == {"a": "b"}


async def test_a_slash_at_the_end_counts_for_nothing() -> None:
    """No redirect says so, which would name an address that a client behind a Router does not know."""
    async with serving() as (_, url), httpx2.AsyncClient(base_url=url) as client:
        for path in ("/status/health/", "/status/health//", "/status/properties/"):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/", "//", "/nowhere/", "/status/health%2F"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.get("/echo/")).status_code == 405
        assert (await client.post("/echo/?x=1", json={"a": 1})).json() == {"a": 1}


@pytest.mark.filterwarnings("ignore")
async def test_errors_have_druids_body() -> None:
    """Unknown path, wrong method, our own fault, a typed refusal: always the four keys."""
    keys = {"error", "errorMessage", "errorClass", "host"}
    async with serving() as (_, url), httpx2.AsyncClient(base_url=url) as client:
        for method, path, status in (
            ("GET", "/nowhere", 404),
            ("GET", "/echo", 405),
            ("GET", "/broken", 500),
            ("GET", "/refused", 400),
        ):
            response = await client.request(method, path)
            assert response.status_code == status
            assert set(response.json()) == keys
        assert (await client.get("/status/health")).json() is True


@pytest.mark.parametrize(
    ("content", "status", "named"),
    [
        (b'{"a": 1}', 200, ""),
        (b"[]", 400, "JSON object"),
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 90, 400, "JSON"),
        (b" " * 101, 413, "100 bytes"),
    ],
)
async def test_a_bad_body_is_refused_by_name(content: bytes, status: int, named: str) -> None:
    """Bad input gets a clear error that names the fault or the limit."""
    async with serving() as (_, url), httpx2.AsyncClient(base_url=url) as client:
        response = await client.post("/echo", content=content)
        assert response.status_code == status
        assert named in response.text


async def test_a_client_that_does_not_read_cannot_hold_up_the_stop() -> None:
    """The stop ends every connection, also one whose send is shielded by the HTTP library."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = HttpServer(make_app(ROUTES), listeners)
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            silent = await trio.open_tcp_stream("127.0.0.1", port)
            await silent.send_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await silent.receive_some(100)
            idle = await trio.open_tcp_stream("127.0.0.1", port)
            sent, quiet = -1, 0
            while server.connections < 2 or quiet < 5:  # until the socket's buffers are full and the send waits
                quiet = quiet + 1 if sent == SENT[0] else 0
                sent = SENT[0]
                await trio.sleep(0.1)
            server.stop(grace_s=0.1)
        assert server.connections == 0
        await silent.aclose()
        await idle.aclose()


async def test_a_running_request_is_finished_within_the_grace() -> None:
    """Stopping does not cut a request that ends in time."""
    started, release = trio.Event(), trio.Event()

    async def slow(request: Request) -> Response:
        started.set()
        await release.wait()
        return JSONResponse("done")

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = HttpServer(make_app([Route("/slow", slow)]), listeners)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/slow"
    answers: list[str] = []

    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            answers.append((await client.get(url)).json())

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            nursery.start_soon(ask)
            await started.wait()
            server.stop(grace_s=10)
            release.set()
    assert answers == ["done"]


class Clients:
    """Raw connections to one server."""

    def __init__(self, server: HttpServer, url: str) -> None:
        self.server = server
        self.port = int(url.rpartition(":")[2])

    async def dial(self) -> trio.SocketStream:
        """A connection that the server has taken up, or closed to make room."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await trio.testing.wait_all_tasks_blocked(0.01)
        return stream

    async def ask(self, stream: trio.SocketStream, path: str = "/status/health") -> bytes:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        while not answer.endswith((b"true", b"x")):
            answer += await stream.receive_some(4096)
        return answer


async def ended(stream: trio.SocketStream) -> bool:
    """Whether the server has ended the connection."""
    try:
        return await stream.receive_some(1) == b""
    except trio.BrokenResourceError:
        return True


async def test_silent_connections_make_room_for_one_that_asks() -> None:
    limits = HttpLimits(connections=8, connections_per_address=8, first_request_s=1000)
    async with serving(limits=limits) as (server, url):
        clients = Clients(server, url)
        silent = [await clients.dial() for _ in range(20)]
        asking = await clients.dial()
        assert b"200" in await clients.ask(asking)
        assert server.connections <= 8
        for stream in silent[:13]:
            assert await ended(stream)
        for stream in [*silent, asking]:
            await stream.aclose()


async def test_one_address_leaves_places_to_others() -> None:
    async with serving(limits=HttpLimits(connections=8, connections_per_address=2)) as (server, url):
        clients = Clients(server, url)
        streams = [await clients.dial() for _ in range(5)]
        assert server.connections == 2
        for stream in streams:
            await stream.aclose()


async def test_a_busy_connection_is_never_ended_for_another() -> None:
    async with serving(limits=HttpLimits(connections=2, connections_per_address=2)) as (server, url):
        clients = Clients(server, url)
        busy = [await clients.dial() for _ in range(2)]
        for stream in busy:
            await clients.ask(stream, "/hang")
        late = await clients.dial()
        assert await ended(late)
        assert server.connections == 2
        for stream in [*busy, late]:
            await stream.aclose()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /status HTTP/1.1\r\nHost: x\r\n"])
async def test_a_first_request_that_does_not_come_ends_the_connection(sent: bytes) -> None:
    async with serving(limits=HttpLimits(first_request_s=0.1)) as (server, url):
        stream = await Clients(server, url).dial()
        await stream.send_all(sent or b"")
        assert await ended(stream)
        await stream.aclose()


async def test_an_idle_connection_ends_and_may_ask_until_then() -> None:
    async with serving(limits=HttpLimits(first_request_s=1000, idle_s=1)) as (server, url):
        clients = Clients(server, url)
        stream = await clients.dial()
        for _ in range(3):
            assert b"200" in await clients.ask(stream)
        assert await ended(stream)
        await stream.aclose()


async def test_a_body_that_stalls_ends_its_connection() -> None:
    async with serving(limits=HttpLimits(body_s=0.1)) as (server, url):
        stream = await Clients(server, url).dial()
        await stream.send_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        while not await ended(stream):
            pass
        await stream.aclose()
        assert (await _health(url)) is True


async def _health(url: str) -> object:
    async with httpx2.AsyncClient(base_url=url) as client:
        return (await client.get("/status/health")).json()


async def test_a_client_that_asks_to_close_gets_its_end_from_a_resource_that_watches_the_client() -> None:
    """The watcher hears of the end of the answer, and cancels the one who sends it."""
    async with serving() as (server, url):
        stream = await Clients(server, url).dial()
        await stream.send_all(b"GET /watching HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while not await ended(stream):
            pass
        await stream.aclose()
