"""What every polite client does: streams in a rhythm, recorded between two words of the benchmark."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import trio

from neighbour.speaking import wait_for_word
from neighbour.waits import INTERVAL_S, Waits

WARM_S = 0.3
LAST_ANSWER_S = 3.0

Stream = Callable[[Waits], Awaitable[None]]


async def ticks(waits: Waits) -> AsyncIterator[None]:
    """The times to ask at, until all is measured; those that passed during a request are left out."""
    at = trio.current_time()
    while not waits.complete:
        at = max(at + INTERVAL_S, trio.current_time())
        await trio.sleep_until(at)
        yield


async def recorded(streams: Sequence[Stream]) -> Waits:
    """Run the streams from `go` to `stop`, or until the benchmark has gone; the first moments warm up."""
    await trio.to_thread.run_sync(wait_for_word)
    await _run(streams, Waits(), partial(trio.sleep, WARM_S))
    waits = Waits()
    gc.collect()
    gc.freeze()
    await _run(streams, waits, partial(trio.to_thread.run_sync, wait_for_word))
    return waits


async def _run(streams: Sequence[Stream], waits: Waits, end: Callable[[], Awaitable[object]]) -> None:
    """Ask until `end` is over; what is under way then has some time left for its answer."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_lateness, waits)
        async with trio.open_nursery() as asking:
            for stream in streams:
                asking.start_soon(stream, waits)
            await end()
            waits.complete = True
            asking.cancel_scope.deadline = trio.current_time() + LAST_ANSWER_S
        nursery.cancel_scope.cancel(reason="measured")


async def _lateness(waits: Waits) -> None:
    """How late this process wakes up, whatever the server does."""
    while True:
        due = trio.current_time() + INTERVAL_S
        await trio.sleep_until(due)
        waits.lateness.append(max(0.0, trio.current_time() - due))
