"""Small real HTTP servers in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from starlette.routing import BaseRoute

from druidroles.http.app import make_app
from druidroles.http.serve import HttpServer


class Served:
    """A server and its address; `kill` ends it in the middle of whatever it does, and its port refuses then."""

    def __init__(self, host_port: str, scope: trio.CancelScope) -> None:
        self.host_port = host_port
        self.url = f"http://{host_port}"
        self._scope = scope

    def kill(self) -> None:
        """No goodbye."""
        self._scope.cancel(reason="the test kills the server")


@asynccontextmanager
async def serve_http(routes: Sequence[BaseRoute]) -> AsyncIterator[Served]:
    """Serve some routes on a free port for as long as the block lasts."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = HttpServer(make_app(routes), listeners)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield Served(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}", nursery.cancel_scope)
        nursery.cancel_scope.cancel(reason="the test is over")


async def dead_port() -> str:
    """A host:port where nobody listens."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    return f"127.0.0.1:{port}"
