"""The latencies of a running server, measured by clients. Each client sends a request after the reply to the last one.

All clients run in this process. With more than a few clients, the measurement includes the work of this process, and
the rate is a lower bound of the server's rate. Each client has its own session and connection.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

import trio

from cli.bench.statistics import Samples
from coordserver.client import Client, connect
from coordserver.core.model.paths import join

DATA = b"x" * 100
WARM_UP_S = 0.2  # warms up connections, caches and the thread of the log

_CONNECT_S = 10.0
_CLEAN_UP_S = 10.0
_REPORT_S = 0.1

Step: TypeAlias = Callable[[], Awaitable[float]]  # executes the operation once and returns its duration in seconds
Progress: TypeAlias = Callable[[str, float], None]  # takes the operation and the finished fraction of it, 0 to 1


@asynccontextmanager
async def open_sessions(server: str, count: int) -> AsyncIterator[list[Client]]:
    """Yield `count` clients of the server."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(connect(server, name=f"coord bench {n}", connect_within=_CONNECT_S))
            for n in range(count)
        ]


@asynccontextmanager
async def scratch_znode(zk: Client) -> AsyncIterator[str]:
    """Create a znode for this run and yield its path. The end of the block deletes it with its subtree."""
    path = f"/coord-bench-{uuid.uuid4().hex[:12]}"
    await zk.create(path)
    try:
        yield path
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP_S):
            await zk.delete_tree(path)


async def measure(server: str, *, clients: int, seconds: float, progress: Progress) -> list[Samples]:
    """Measure get, set, create, delete and watch, one after the other.

    Each one is measured for `seconds`, except delete, which ends when all created znodes are deleted.
    """
    results: list[Samples] = []
    async with open_sessions(server, clients) as zks, scratch_znode(zks[0]) as root:
        homes = [(await zk.create(join(root, f"client-{n}"), DATA)).path for n, zk in enumerate(zks)]
        gets = [partial(_measure_call, zk.get, home) for zk, home in zip(zks, homes, strict=True)]
        sets = [partial(_measure_call, zk.set, home, DATA) for zk, home in zip(zks, homes, strict=True)]
        await _run_for("warm-up", gets, WARM_UP_S, progress)
        results.append(await _run_for("get", gets, seconds, progress))
        results.append(await _run_for("set", sets, seconds, progress))
        created: list[list[str]] = [[] for _ in zks]
        creates = [partial(_measure_create, *each) for each in zip(zks, homes, created, strict=True)]
        results.append(await _run_for("create", creates, seconds, progress))
        deletes = [[partial(_measure_call, zk.delete, p) for p in own] for zk, own in zip(zks, created, strict=True)]
        total = sum(map(len, deletes))
        results.append(await _run("delete", deletes, lambda done: len(done.durations) / total, progress))
    async with open_sessions(server, 2 * clients) as zks, scratch_znode(zks[0]) as root, AsyncExitStack() as stack:
        notifications = []
        for n, (setter, watcher) in enumerate(zip(zks[::2], zks[1::2], strict=True)):
            path = (await setter.create(join(root, f"watched-{n}"))).path
            events = await stack.enter_async_context(watcher.watch(path))
            notifications.append(partial(_measure_notification, setter, path, events.next_batch))
        results.append(await _run_for("watch", notifications, seconds, progress))
    return results


async def _measure_call(call: Callable[..., Awaitable[Any]], *arguments: Any) -> float:
    began = perf_counter()
    await call(*arguments)
    return perf_counter() - began


async def _measure_create(zk: Client, parent: str, created: list[str]) -> float:
    path = f"{parent}/{len(created):08}"
    duration = await _measure_call(zk.create, path, DATA)
    created.append(path)
    return duration


async def _measure_notification(setter: Client, path: str, next_batch: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds from the set of one client to the event that another client receives."""
    began = perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(setter.set, path, DATA))
        await next_batch()
        received = perf_counter()
    return received - began


def _repeat(step: Step, seconds: float) -> Iterator[Step]:
    """Yield `step` at least once, and again until `seconds` have passed since the first time."""
    ends = perf_counter() + seconds
    yield step
    while perf_counter() < ends:
        yield step


async def _run_for(operation: str, steps: Sequence[Step], seconds: float, progress: Progress) -> Samples:
    began = perf_counter()
    works = [_repeat(step, seconds) for step in steps]
    return await _run(operation, works, lambda _: (perf_counter() - began) / seconds, progress)


async def _run(
    operation: str, works: Sequence[Iterable[Step]], part_done: Callable[[Samples], float], progress: Progress
) -> Samples:
    """Run the steps of all clients concurrently and return their durations. `works` has the steps of each client."""
    samples = Samples(operation, len(works))
    record = samples.durations.append

    async def run_steps(work: Iterable[Step]) -> None:
        for step in work:
            record(await step())

    async def report_progress() -> None:
        while True:
            progress(operation, min(1.0, part_done(samples)))
            await trio.sleep(_REPORT_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_progress)
        began = perf_counter()
        async with trio.open_nursery() as clients:
            for work in works:
                clients.start_soon(run_steps, work)
        samples.wall_s = perf_counter() - began
        nursery.cancel_scope.cancel(reason="measured")
    progress(operation, 1.0)
    return samples
