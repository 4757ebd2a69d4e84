"""Latencies of a running server, as clients see them: each client asks, waits for the answer, and asks again.

All clients live in this one process, so at more than a few of them its own work is measured too; the rates of many
clients are a lower bound of what the server can do. Every client has a session and a connection of its own.
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
from coordserver.core.paths import join

DATA = b"x" * 100
WARM_UP_S = 0.2  # connections, caches and the log's thread

_CONNECT_S = 10.0
_CLEAN_UP_S = 10.0
_TELL_S = 0.1

Step: TypeAlias = Callable[[], Awaitable[float]]  # does it once and returns the seconds it took
Progress: TypeAlias = Callable[[str, float], None]  # the operation, and which part of it is done, 0 to 1


@asynccontextmanager
async def sessions(server: str, count: int) -> AsyncIterator[list[Client]]:
    """So many clients of the server."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(connect(server, name=f"coord bench {n}", connect_within=_CONNECT_S))
            for n in range(count)
        ]


@asynccontextmanager
async def scratch(zk: Client) -> AsyncIterator[str]:
    """A path of this run's own, removed at the end."""
    path = f"/coord-bench-{uuid.uuid4().hex[:12]}"
    await zk.create(path)
    try:
        yield path
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEAN_UP_S):
            await zk.delete_tree(path)


async def measure(server: str, *, clients: int, seconds: float, progress: Progress) -> list[Samples]:
    """Get, set, create, delete and watch, one after the other, each for so long; delete until all is deleted."""
    results: list[Samples] = []
    async with sessions(server, clients) as zks, scratch(zks[0]) as root:
        homes = [(await zk.create(join(root, f"client-{n}"), DATA)).path for n, zk in enumerate(zks)]
        gets = [partial(_timed, zk.get, home) for zk, home in zip(zks, homes, strict=True)]
        sets = [partial(_timed, zk.set, home, DATA) for zk, home in zip(zks, homes, strict=True)]
        await _for_a_time("warm-up", gets, WARM_UP_S, progress)
        results.append(await _for_a_time("get", gets, seconds, progress))
        results.append(await _for_a_time("set", sets, seconds, progress))
        made: list[list[str]] = [[] for _ in zks]
        creates = [partial(_create, zk, home, own) for zk, home, own in zip(zks, homes, made, strict=True)]
        results.append(await _for_a_time("create", creates, seconds, progress))
        deletes = [[partial(_timed, zk.delete, path) for path in own] for zk, own in zip(zks, made, strict=True)]
        total = sum(map(len, deletes))
        results.append(await _run("delete", deletes, lambda done: len(done.durations) / total, progress))
    async with sessions(server, 2 * clients) as zks, scratch(zks[0]) as root, AsyncExitStack() as stack:
        notices = []
        for n, (setter, watcher) in enumerate(zip(zks[::2], zks[1::2], strict=True)):
            path = (await setter.create(join(root, f"watched-{n}"))).path
            events = await stack.enter_async_context(watcher.watch(path))
            notices.append(partial(_notice, setter, path, events.next_batch))
        results.append(await _for_a_time("watch", notices, seconds, progress))
    return results


async def _timed(call: Callable[..., Awaitable[Any]], *arguments: Any) -> float:
    began = perf_counter()
    await call(*arguments)
    return perf_counter() - began


async def _create(zk: Client, parent: str, made: list[str]) -> float:
    path = f"{parent}/{len(made):08}"
    took = await _timed(zk.create, path, DATA)
    made.append(path)
    return took


async def _notice(setter: Client, path: str, next_batch: Callable[[], Awaitable[object]]) -> float:
    """From one client's set to the event that another client sees."""
    began = perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(setter.set, path, DATA))
        await next_batch()
        seen = perf_counter()
    return seen - began


def _repeat(step: Step, seconds: float) -> Iterator[Step]:
    """The step again and again, until so much time has passed since the first."""
    ends = perf_counter() + seconds
    yield step
    while perf_counter() < ends:
        yield step


async def _for_a_time(operation: str, steps: Sequence[Step], seconds: float, progress: Progress) -> Samples:
    began = perf_counter()
    works = [_repeat(step, seconds) for step in steps]
    return await _run(operation, works, lambda _: (perf_counter() - began) / seconds, progress)


async def _run(
    operation: str, works: Sequence[Iterable[Step]], part_done: Callable[[Samples], float], progress: Progress
) -> Samples:
    """Let each client do its work, all at the same time."""
    samples = Samples(operation, len(works))
    record = samples.durations.append

    async def client(work: Iterable[Step]) -> None:
        for step in work:
            record(await step())

    async def tell() -> None:
        while True:
            progress(operation, min(1.0, part_done(samples)))
            await trio.sleep(_TELL_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        began = perf_counter()
        async with trio.open_nursery() as clients:
            for work in works:
                clients.start_soon(client, work)
        samples.wall_s = perf_counter() - began
        nursery.cancel_scope.cancel(reason="measured")
    progress(operation, 1.0)
    return samples
