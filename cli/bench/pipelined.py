"""The rates of one client with many tasks, whose requests and replies share sends and reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

import trio

from cli.bench.latency import DATA, Progress, open_sessions, scratch_znode
from coordserver.core.model.paths import join


async def rates(server: str, *, tasks: int, seconds: float, progress: Progress) -> list[dict[str, Any]]:
    """Measure get, set and create with `tasks` tasks on one client, each operation for `seconds`.

    Each task sends its next request after the reply to the last one.
    """
    results = []
    async with open_sessions(server, 1) as (zk,), scratch_znode(zk) as root:
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
    """Call `call` from `tasks` tasks for `seconds`. Returns the number of calls and their wall time in seconds."""
    counts = [0] * tasks
    began = perf_counter()
    ends = began + seconds

    async def repeat_calls(task: int) -> None:
        while perf_counter() < ends:
            await call()
            counts[task] += 1

    async with trio.open_nursery() as nursery:
        for task in range(tasks):
            nursery.start_soon(repeat_calls, task)
    return sum(counts), perf_counter() - began
