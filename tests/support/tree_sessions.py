"""Fixtures: a real server, sessions on it, and a way to end a session as if its process had died."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from coordserver.client import Client, connect
from coordserver.client.native import NativeCodec
from coordserver.client.session import Session
from coordserver.client.transport import dial_tcp, parse_hosts
from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.paths import DruidPaths

PATHS = DruidPaths("/druid")
LIMIT_S = 20  # for what takes milliseconds; so that a failure says where


@pytest.fixture
def paths() -> DruidPaths:
    return PATHS


@pytest.fixture
def scheme() -> str:
    """The protocol of the sessions: coord, or zk."""
    return "coord"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle:
        yield handle


@pytest.fixture
async def zk(server: ServerHandle, scheme: str) -> AsyncIterator[Client]:
    """The session of what is tested; the layout of the tree is there."""
    async with connect(f"{scheme}://{server.address}", session_timeout=4) as client:
        for path in PATHS.layout():
            await client.ensure_path(path)
        yield client


@pytest.fixture
async def other(server: ServerHandle) -> AsyncIterator[Client]:
    """Another process' session: a fake Coordinator, or an onlooker. Always native, which tells the zxid of events."""
    async with connect(server.address, session_timeout=4) as client:
        yield client


@pytest.fixture
def expire(server: ServerHandle) -> Callable[[Client], Awaitable[None]]:
    """End a session behind its client's back, and return when the client has the next one."""

    async def expire(client: Client) -> None:
        number = client.session_number
        thief = Session(
            parse_hosts(server.address), dial_tcp, NativeCodec, timeout_ms=4000, name="thief", rng=random.Random()
        )
        thief.session_id, thief.password = client.session_id, client.session_password
        thief._calls._next_number = client._session._calls._next_number + 10_000  # beyond what the client still sends
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(thief.run)
                await thief.close()
                thief.stop()
            while client.session_number == number:  # noqa: ASYNC110 - the client tells of states, not numbers
                await trio.sleep(0.01)

    return expire


async def _eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    with trio.fail_after(LIMIT_S):
        while not (value := await condition()):  # noqa: ASYNC110 - it may be another process'
            await trio.sleep(0.01)
        return value


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Wait until a condition holds; its value."""
    return _eventually
