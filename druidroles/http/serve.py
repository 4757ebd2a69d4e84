"""Serving an ASGI application with hypercorn's protocol on listeners of our own, and ending when told to.

hypercorn's trio worker shields its sends without a deadline, so that one client that does not read holds up the stop
for as long as it likes. Here hypercorn speaks HTTP on each connection, while accepting, counting and closing are ours:
after the grace the connections are cancelled, and what a shield still holds is freed by closing its socket.
"""

from __future__ import annotations

import logging
from typing import Any, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.applications import Starlette

from druidroles.http.draining import Draining

log = logging.getLogger(__name__)

HARD_CLOSE_S = 0.5  # between the cancellation of a connection and the closing of its socket
KEEP_ALIVE_S = 75.0  # longer than a client's pool keeps idle connections, so that the client closes first
CONNECTIONS_MAX = 1024  # a role serves its peers and an operator; more is a fault, and a file descriptor each


def _config() -> Any:
    config = Config()
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.errorlog = logging.getLogger("druidroles.http.hypercorn")
    config.include_server_header = False
    config.h11_max_incomplete_size = 64 * 1024
    return config


class HttpServer:
    """One application on some listeners, until `stop`.

    `run` serves; `stop(grace_s)` ends accepting at once and gives running requests `grace_s` seconds. The whole stop
    takes at most `grace_s` + 0.5 s whatever the clients do. Cancelling `run` is a stop without grace.
    """

    def __init__(self, app: Starlette, listeners: list[trio.SocketListener]) -> None:
        self._app = ASGIWrapper(cast(Any, Draining(app)))
        self._listeners = listeners
        self._config = _config()
        self._context = WorkerContext(None)
        self._streams: set[trio.SocketStream] = set()
        self._stopping = trio.Event()
        self._drained = trio.Event()
        self._grace_s = 0.0

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._streams)

    def stop(self, grace_s: float = 3.0) -> None:
        """Begin to stop; returns at once, `run` ends when done."""
        self._grace_s = grace_s
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped or cancelled."""
        async with trio.open_nursery() as closers:
            closers.start_soon(self._close_hard)
            try:
                async with trio.open_nursery() as connections:
                    async with trio.open_nursery() as accepting:
                        accepting.start_soon(self._accept, connections)
                        task_status.started()
                        await self._stopping.wait()
                        accepting.cancel_scope.cancel(reason="the HTTP server stops")
                    await self._context.terminated.set()
                    connections.cancel_scope.deadline = trio.current_time() + self._grace_s
            finally:
                self._drained.set()

    async def _accept(self, connections: trio.Nursery) -> None:
        await trio.serve_listeners(self._serve_connection, self._listeners, handler_nursery=connections)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        if len(self._streams) >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._streams.add(stream)
        try:
            await TCPServer(self._app, self._config, self._context, {}, cast(Any, stream))
        except Exception:  # the boundary of one connection: its fault must not reach the others
            log.exception("an HTTP connection failed")
        finally:
            self._streams.discard(stream)
            stream.socket.close()

    async def _close_hard(self) -> None:
        """When the grace is over, close the sockets that a cancelled connection still holds in a shielded send."""
        try:
            await self._stopping.wait()
            with trio.move_on_after(self._grace_s):
                await self._drained.wait()
        finally:
            with trio.move_on_after(HARD_CLOSE_S, shield=True):
                await self._drained.wait()
            for stream in list(self._streams):
                stream.socket.close()
