"""Serving an ASGI application with hypercorn's protocol on listeners of our own, and ending when told to.

hypercorn's trio worker shields its sends without a deadline, so that one client that does not read holds up the stop
for as long as it likes. Here hypercorn speaks HTTP on each connection, while accepting, counting and closing are ours:
after the grace the connections are cancelled, and what a shield still holds is freed by closing its socket.

A connection costs a descriptor whether or not it asks anything, so silence has deadlines, and where all places are
taken the connection that has been idle for longest makes room.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from druidroles.http.draining import Draining

log = logging.getLogger(__name__)

END_S = 5.0  # for the last piece of an answer
HARD_CLOSE_S = 0.5  # between the cancellation of a connection and the closing of its socket


@attrs.frozen(kw_only=True)
class HttpLimits:
    """What one server bears. An idle connection has no request under way."""

    connections: int = 1024  # a role serves its peers and an operator; each costs a file descriptor
    connections_per_address: int = 512
    first_request_s: float = 10.0  # from the connection to its first whole request head
    idle_s: float = 75.0  # longer than a client's pool keeps idle connections, so that the client closes first
    body_s: float = 60.0  # without a byte of a request's body


@attrs.define(eq=False)
class _Connection:
    """One connection, which is cancelled at the deadline of its `scope`."""

    stream: trio.SocketStream
    address: str
    limits: HttpLimits
    idle_since: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    requests: int = 0

    def app(self, inner: ASGIApp) -> ASGIApp:
        """The application as this connection sees it: requests suspend the deadline of silence."""

        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            self.requests += 1
            self.scope.deadline = math.inf
            try:
                await inner(scope, self._bounded(receive), _ended(send))
            finally:
                self.requests -= 1
                self.idle_since = trio.current_time()
                if not self.requests:
                    self.scope.deadline = self.idle_since + self.limits.idle_s

        return timed

    def _bounded(self, receive: Receive) -> Receive:
        """`receive` with a deadline until the body is whole; a client that stalls counts as gone."""
        whole = False

        async def bounded() -> Message:
            nonlocal whole
            message: Message = {"type": "http.disconnect"}
            with trio.CancelScope(deadline=math.inf if whole else trio.current_time() + self.limits.body_s) as scope:
                message = await receive()
                whole = message["type"] != "http.request" or not message.get("more_body", False)
            if scope.cancelled_caught:
                self.scope.cancel(reason="the request body stalls")
            return message

        return bounded


def _ended(send: Send) -> Send:
    """`send` whose last piece is not cancelled in the middle.

    With it hypercorn tells the application that the client has gone, and only then closes the connection or takes the
    next request. An application that waits for the client to go is cancelled in between.
    """

    async def ended(message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        with trio.CancelScope(shield=last, deadline=trio.current_time() + END_S if last else math.inf):
            await send(message)

    return ended


def _config() -> Any:
    config = Config()
    config.keep_alive_timeout = math.inf  # the deadlines are ours
    config.errorlog = logging.getLogger("druidroles.http.hypercorn")
    config.include_server_header = False
    config.h11_max_incomplete_size = 64 * 1024
    return config


class HttpServer:
    """One application on some listeners, until `stop`.

    `run` serves; `stop(grace_s)` ends accepting at once and gives running requests `grace_s` seconds. The whole stop
    takes at most `grace_s` + 0.5 s whatever the clients do. Cancelling `run` is a stop without grace.
    """

    def __init__(self, app: Starlette, listeners: list[trio.SocketListener], limits: HttpLimits | None = None) -> None:
        self._app: ASGIApp = Draining(app)
        self._limits = limits or HttpLimits()
        self._listeners = listeners
        self._config = _config()
        self._context = WorkerContext(None)
        self._connections: set[_Connection] = set()
        self._of_address: Counter[str] = Counter()
        self._stopping = trio.Event()
        self._drained = trio.Event()
        self._grace_s = 0.0

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

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
        now = trio.current_time()
        connection = _Connection(stream, _address(stream), self._limits, now)
        if not self._make_room(connection.address):
            await trio.aclose_forcefully(stream)
            return
        self._connections.add(connection)
        self._of_address[connection.address] += 1
        connection.scope.deadline = now + self._limits.first_request_s
        app = ASGIWrapper(cast(Any, connection.app(self._app)))
        try:
            with connection.scope:
                await TCPServer(app, self._config, self._context, {}, cast(Any, stream))
        except Exception:  # the boundary of one connection: its fault must not reach the others
            log.exception("an HTTP connection failed")
        finally:
            self._forget(connection)
            stream.socket.close()

    def _make_room(self, address: str) -> bool:
        """Whether there is a place for one more of this address; the longest idle connection makes it, if need be."""
        if self._of_address[address] >= self._limits.connections_per_address:
            return self._evict([one for one in self._connections if one.address == address])
        return len(self._connections) < self._limits.connections or self._evict(self._connections)

    def _evict(self, among: Iterable[_Connection]) -> bool:
        oldest = min((one for one in among if not one.requests), key=lambda one: one.idle_since, default=None)
        if oldest is None:
            return False
        self._forget(oldest)
        oldest.scope.cancel(reason="another connection needs its place")
        return True

    def _forget(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._of_address -= Counter((connection.address,))

    async def _close_hard(self) -> None:
        """When the grace is over, close the sockets that a cancelled connection still holds in a shielded send."""
        try:
            await self._stopping.wait()
            with trio.move_on_after(self._grace_s):
                await self._drained.wait()
        finally:
            with trio.move_on_after(HARD_CLOSE_S, shield=True):
                await self._drained.wait()
            for connection in list(self._connections):
                connection.stream.socket.close()


def _address(stream: trio.SocketStream) -> str:
    """The address of the client; of one that has gone already, nothing."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""
