"""A whole server inside the caller's event loop, on a free port of loopback, for tests of what uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.server.clock import Clock
from coordserver.server.serve import ServerHandle, serve

STOP_S = 10.0


@asynccontextmanager
async def embedded_server(
    data_dir: Path, *, tick_time_ms: int = 500, port: int = 0, clock: Clock | None = None
) -> AsyncIterator[ServerHandle]:
    """A running server; `handle.address` is where. Leaving the block stops it gracefully, within 10 s.

    `data_dir` must exist. With the default tick, session timeouts from 1 s to 10 s are granted.
    """
    config = ServerConfig(data_dir=data_dir, listen=(Address("127.0.0.1", port),), tick_time_ms=tick_time_ms)
    async with trio.open_nursery() as nursery:
        handle: ServerHandle = await nursery.start(_serve, config, clock)
        try:
            yield handle
        finally:
            handle.stop()
            nursery.cancel_scope.deadline = trio.current_time() + STOP_S


async def _serve(  # noqa: ASYNC128 - serve says it
    config: ServerConfig, clock: Clock | None, *, task_status: trio.TaskStatus[ServerHandle]
) -> None:
    await serve(config, clock=clock, task_status=task_status)
