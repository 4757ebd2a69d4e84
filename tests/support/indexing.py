"""Roles of the indexing service inside the test's own event loop, on a real coordination server."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import trio

from coordserver.client import Client, connect
from coordserver.client.native import NativeCodec
from coordserver.client.session import Session
from coordserver.client.transport import dial_tcp, parse_hosts
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.http.app import make_app
from druidroles.http.client import make_client
from druidroles.http.serve import HttpServer
from druidroles.model.server import NodeRole
from druidroles.process import Role, RoleContext, RoleSettings, open_listeners

SESSION_TIMEOUT_S = 2.0
LIMIT_S = 30.0  # a bound, not an expectation


@attrs.frozen
class Running:
    """A role that runs, until its scope is cancelled."""

    role: Any
    context: RoleContext
    scope: trio.CancelScope
    ended: trio.Event

    @property
    def zk(self) -> Client:
        """Its session."""
        return self.context.zk

    async def get(self, path: str) -> httpx2.Response:
        """Ask it."""
        return await self.context.http.get(self.context.url + path)

    async def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """Command it."""
        return await self.context.http.post(self.context.url + path, json=body, **more)


@asynccontextmanager
async def running(
    address: object, kind: NodeRole, data_dir: Path, build: Callable[[RoleContext], Role], port: int = 0
) -> AsyncIterator[Running]:
    """One role, ready, until the block ends."""
    _make(data_dir)
    listeners = await open_listeners("127.0.0.1", port)
    host_port = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    settings = RoleSettings(
        role=kind,
        coord=CoordUrl.parse(f"coord://{address}/druid"),
        host="127.0.0.1",
        port=port,
        data_dir=data_dir,
        session_timeout_s=SESSION_TIMEOUT_S,
    )
    async with connect(str(address), session_timeout=SESSION_TIMEOUT_S) as zk, make_client() as http:
        context = RoleContext(settings, zk, DruidPaths("/druid"), http, host_port)
        for path in context.paths.layout():
            await zk.ensure_path(path)
        role = build(context)
        async with trio.open_nursery() as nursery:
            running_role = Running(role, context, trio.CancelScope(), trio.Event())
            await nursery.start(_live, running_role, HttpServer(make_app(role.routes()), listeners))
            yield running_role
            nursery.cancel_scope.cancel(reason="the test is over")


async def _live(on: Running, server: HttpServer, *, task_status: trio.TaskStatus[None]) -> None:
    with on.scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            await nursery.start(on.role.run)
            task_status.started()
    on.ended.set()


def _make(directory: Path) -> None:
    directory.mkdir(exist_ok=True)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Poll an async condition until it holds; its value."""
    with trio.fail_after(LIMIT_S):
        while not (value := await condition()):  # noqa: ASYNC110 - it may be another process'
            await trio.sleep(0.02)
    return value


async def ended(overlord: Running, task_id: str) -> dict[str, Any]:
    """The status of a task once it has ended."""

    async def status() -> Any:
        response = await overlord.get(f"/druid/indexer/v1/task/{task_id}/status")
        found = response.json()["status"] if response.status_code == 200 else None
        return found if found and found["statusCode"] != "RUNNING" else None

    found: dict[str, Any] = await until(status)
    return found


async def end_session(address: str, client: Client) -> None:
    """End a session behind its client's back, as when the client was paused beyond the timeout."""
    number = client.session_number
    thief = Session(parse_hosts(address), dial_tcp, NativeCodec, timeout_ms=4000, name="thief", rng=random.Random())
    thief.session_id, thief.password = client.session_id, client.session_password
    thief._calls._next_number = client._session._calls._next_number + 10_000  # beyond what the client still sends
    async with trio.open_nursery() as nursery:
        await nursery.start(thief.run)
        await thief.close()
        thief.stop()
    with trio.fail_after(LIMIT_S):
        while client.session_number == number:  # noqa: ASYNC110 - the client tells of states, not numbers
            await trio.sleep(0.01)


def index_spec(base_dir: Path, data_source: str = "flights", **granularity: Any) -> dict[str, Any]:
    """A small `index_parallel` task: one CSV with time, carrier and delay."""
    return {
        "type": "index_parallel",
        "spec": {
            "dataSchema": {
                "dataSource": data_source,
                "timestampSpec": {"column": "time", "format": "iso"},
                "dimensionsSpec": {"dimensions": ["carrier", {"type": "long", "name": "delay"}]},
                "granularitySpec": {"segmentGranularity": "DAY", "rollup": False, **granularity},
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "local", "baseDir": str(base_dir), "filter": "*.csv"},
                "inputFormat": {"type": "csv", "findColumnsFromHeader": True},
            },
        },
    }


def noop(run_time_ms: int = 0, **more: Any) -> dict[str, Any]:
    """A task that only takes time."""
    return {"type": "noop", "runTime": run_time_ms, **more}
