"""Rates of one client with many tasks: their requests leave together and their answers come together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

import trio

from cli.bench.latency import DATA, Progress, scratch, sessions
from coordserver.core.paths import join


async def rates(server: str, *, tasks: int, seconds: float, progress: Progress) -> list[dict[str, Any]]:
    """Get, set and create with so many tasks on one client, each asking again once it is answered."""
    results = []
    async with sessions(server, 1) as (zk,), scratch(zk) as root:
        await zk.set(root, DATA)
        names = count()

        async def create() -> None:
            await zk.create(join(root, f"{next(names):08}"), DATA)

        operations: dict[str, Callable[[], Awaitable[Any]]] = {
            "get": partial(zk.get, root),
            "set": partial(zk.set, root, DATA),
            "create": create,
        }
        for operation, call in operations.items():
            progress(operation, 0.0)
            done, wall_s = await _keep_busy(call, tasks, seconds)
            progress(operation, 1.0)
            results.append({"operation": operation, "tasks": tasks, "count": done, "rate": round(done / wall_s, 1)})
    return results


async def _keep_busy(call: Callable[[], Awaitable[Any]], tasks: int, seconds: float) -> tuple[int, float]:
    """How many calls were done, in how many seconds."""
    counts = [0] * tasks
    began = perf_counter()
    ends = began + seconds

    async def work(own: int) -> None:
        while perf_counter() < ends:
            await call()
            counts[own] += 1

    async with trio.open_nursery() as nursery:
        for own in range(tasks):
            nursery.start_soon(work, own)
    return sum(counts), perf_counter() - began
