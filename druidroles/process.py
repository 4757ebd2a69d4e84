"""A Druid process: a role, or two, behind one HTTP port and one session, from the first bind to the last byte.

Start: data directory and port first (what can fail at once fails at once), then the session, then the role; only a
role that can serve is announced, and only an announced one prints READY. Stop is the same backwards: unannounce, let
the role finish, give HTTP clients a short grace, close the session. All of it within 10 s of SIGTERM, whatever the
peers do.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import httpx2
import trio
from starlette.routing import BaseRoute

from coordserver.client import Client
from druidroles.coordination.access import OPEN, CoordAccess
from druidroles.coordination.connection import measure_connection
from druidroles.coordination.discovery import discovered_node
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.http.app import make_app, status_routes
from druidroles.http.client import make_client
from druidroles.http.guard import JSON_TYPES, QUERY_TYPES, Guard, HttpAccess
from druidroles.http.metrics import Metrics
from druidroles.http.serve import HttpLimits, HttpServer
from druidroles.model.decode import ModelError
from druidroles.model.names import check_name
from druidroles.model.server import DiscoveryDruidNode, DruidNode, NodeRole
from druidroles.session import open_session

log = logging.getLogger(__name__)

STOP_S = 9.0  # from SIGTERM to the end; the promise is 10
HTTP_GRACE_S = 2.0  # for requests that run when the role has already finished
LEADING = (NodeRole.COORDINATOR, NodeRole.OVERLORD)
# Views of 100,000 segments are made of objects that live long: looking for garbage among them as often as Python does
# by default is a third of the time it takes to build one.
GC_THRESHOLDS = (50_000, 20, 10)


class StartError(Exception):
    """The process cannot start; the message is one line that says what to do something about."""


def require_name(text: str, option: str) -> None:
    """StartError if what a process is to call itself cannot be a name."""
    try:
        check_name(text, option)
    except ModelError as fault:
        raise StartError(str(fault)) from None


@attrs.frozen(kw_only=True)
class RoleSettings:
    """What every role is told: where the tree is, where to listen, where to keep files."""

    role: NodeRole
    coord: CoordUrl
    host: str
    port: int
    data_dir: Path
    session_timeout_s: float = 10.0
    service: str = ""  # druid.service, by default that of the role
    access: CoordAccess = OPEN
    http: HttpAccess = attrs.field(factory=HttpAccess)
    http_limits: HttpLimits = attrs.field(factory=HttpLimits)


@attrs.define
class RoleContext:
    """What a role works with. `host_port` has the real port, also where 0 was asked for."""

    settings: RoleSettings
    zk: Client
    paths: DruidPaths
    http: httpx2.AsyncClient
    host_port: str
    metrics: Metrics = attrs.field(factory=Metrics)

    @property
    def url(self) -> str:
        """How others reach this process."""
        return f"http://{self.host_port}"


class Role(Protocol):
    """What a role is to its process."""

    def routes(self) -> list[BaseRoute]:
        """Its HTTP resources; they may be asked before `run` has started."""
        ...

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """What it says of itself in discovery (DiscoveryDruidNode.services)."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Live. `task_status.started()` once it can serve; when cancelled it cleans up within 5 s."""
        ...


@contextmanager
def claim_data_dir(path: Path, what: str = "data directory") -> Iterator[None]:
    """Make and lock a directory; StartError if that cannot be, or another process holds it."""
    if not path.parent.is_dir():
        raise StartError(f"the {what} {path} cannot be made: {path.parent} is missing")
    try:
        path.mkdir(exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise StartError(f"the {what} {path} cannot be used: {fault.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StartError(f"the {what} {path} is held by another process") from None
    try:
        yield
    finally:
        os.close(descriptor)


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on an address, port 0 for a free one; StartError if that cannot be."""
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            raise StartError(f"port {port} on {host} is in use") from None
        raise StartError(f"cannot listen on {host}:{port}: {fault.strerror or fault}") from None


def _properties(context: RoleContext) -> dict[str, str]:
    settings = context.settings
    return {
        "druid.service": settings.service or settings.role.service_name,
        "druid.host": settings.host,
        "druid.plaintextPort": context.host_port.rpartition(":")[2],
        "druid.zk.service.host": settings.coord.hosts,
        "druid.zk.paths.base": settings.coord.base,
    }


def _discovery_node(context: RoleContext, role: Role) -> DiscoveryDruidNode:
    host, _, port = context.host_port.rpartition(":")
    return DiscoveryDruidNode(
        node=DruidNode(
            service=context.settings.service or context.settings.role.service_name, host=host, plaintext_port=int(port)
        ),
        role=context.settings.role,
        services=role.discovery_services(),
        start_time_ms=time.time_ns() // 1_000_000,
        available_processors=os.cpu_count() or 1,
        total_memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


async def _follow_signals(stop: trio.Event, whole: trio.CancelScope) -> None:
    """The first SIGTERM or SIGINT begins the stop and sets its deadline; a second one ends it at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if stop.is_set():
                whole.cancel(reason="a second signal")
                return
            log.info("stopping on %s", signal.Signals(number).name)
            whole.deadline = trio.current_time() + STOP_S
            stop.set()


Announce = Callable[[str], None]


def say_ready(text: str) -> None:
    """Print a READY line, which scripts wait for."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


Build = Callable[[RoleContext], Role]


async def run_role(
    settings: RoleSettings,
    build: Build,
    *,
    also: Mapping[NodeRole, Build] | None = None,
    announce: Announce = say_ready,
) -> None:
    """Run one role until SIGTERM or SIGINT. StartError if it cannot start; what fails later rises.

    `also`: further roles in the same process (a Coordinator as Overlord). They share port, session and metrics, and
    each is announced as what it is.
    """
    require_name(settings.host, "--host")
    gc.set_threshold(*GC_THRESHOLDS)
    # Tasks' processes are let in as this one is.
    os.environ.update(settings.access.environment() | settings.http.environment())
    with claim_data_dir(settings.data_dir):
        listeners = await open_listeners(settings.host, settings.port)
        host_port = f"{settings.host}:{listeners[0].socket.getsockname()[1]}"
        stop = trio.Event()
        async with trio.open_nursery() as signals:
            signals.start_soon(_follow_signals, stop, signals.cancel_scope)
            async with (
                open_session(
                    settings.coord.servers,
                    settings.data_dir,
                    f"{settings.role.value} {host_port} {settings.coord.base}",
                    session_timeout_s=settings.session_timeout_s,
                    resume=settings.role not in LEADING,
                    access=settings.access,
                ) as zk,
                make_client(settings.http.headers()) as http,
            ):
                context = RoleContext(settings, zk, DruidPaths(settings.coord.base), http, host_port)
                for path in context.paths.layout():
                    await zk.ensure_path(path)
                roles = [(context, build(context))]
                for role, build_other in (also or {}).items():
                    other = attrs.evolve(context, settings=attrs.evolve(settings, role=role, service=""))
                    roles.append((other, build_other(other)))
                await _live(roles, listeners, stop, announce)
            signals.cancel_scope.cancel(reason="the role has stopped")


async def _live(
    roles: Sequence[tuple[RoleContext, Role]],
    listeners: list[trio.SocketListener],
    stop: trio.Event,
    announce: Announce,
) -> None:
    context = roles[0][0]
    seen: list[Callable[[], bool]] = []  # for each role, whether it sees itself in the tree
    status = status_routes(lambda: len(seen) == len(roles) and all(sees() for sees in seen), _properties(context))
    routes = [route for _, role in roles for route in role.routes()]
    settings = context.settings
    types = QUERY_TYPES if settings.role is NodeRole.ROUTER else JSON_TYPES
    guard = partial(Guard, access=settings.http, own=(settings.host,), types=types)
    server = HttpServer(make_app([*status, context.metrics.route(), *routes], guard), listeners, settings.http_limits)
    async with trio.open_nursery() as serving:
        await serving.start(server.run)
        async with trio.open_nursery() as living:
            living.start_soon(measure_connection, context.zk, context.metrics)
            for _, role in roles:
                await _start_or_stop(living, role.run, stop)
            if not stop.is_set():
                async with AsyncExitStack() as announced:
                    for own, role in roles:
                        node = _discovery_node(own, role)
                        seen.append(await announced.enter_async_context(discovered_node(own.zk, own.paths, node)))
                    announce(f"READY {context.settings.role.value} {context.url}")
                    await stop.wait()
            living.cancel_scope.cancel(reason="the role stops")
        server.stop(HTTP_GRACE_S)


async def _start_or_stop(nursery: trio.Nursery, run: Callable[..., Awaitable[None]], stop: trio.Event) -> None:
    """Start the role, but give up waiting for it when the stop comes first, or came before."""

    async def give_up(scope: trio.CancelScope) -> None:
        await stop.wait()
        scope.cancel(reason="stopped while starting")

    async with trio.open_nursery() as waiting:
        waiting.start_soon(give_up, waiting.cancel_scope)
        await nursery.start(run)
        waiting.cancel_scope.cancel(reason="the role has started")
