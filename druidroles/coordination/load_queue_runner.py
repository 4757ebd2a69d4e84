"""The Historical's side of the load queue: from a request in the tree to its deletion (Druid's ZkCoordinator and
SegmentLoadDropHandler).

Loads have lanes to run in, and as many are started together, in one transaction, as lanes are free. Drops have a way
of their own, so that none ever waits for a download. What is done comes to one task that finishes it: everything that
came meanwhile, or comes within a moment while more is at hand, is announced, or announced no more, and dequeued in one
transaction, because a batch of announcements is written whole for each segment more. While the tree cannot be reached
all soon wait for that task, and serving goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio

from coordserver.client import Client
from druidroles.coordination.announcements import Dequeue, SegmentAnnouncer
from druidroles.coordination.batches import SegmentTooLargeError, encode_segment
from druidroles.coordination.load_queue_server import LoadQueueView, QueuedRequest, RequestWriter, Start
from druidroles.model.change_request import Action
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

FINISHED_TOGETHER = 100
GATHER_S = 0.05  # while there is more to do, for what will be done a moment later
_DROPPED_TOGETHER = 50

_LOADS = (Action.LOAD,)
_OTHERS = (Action.DROP, Action.NOOP)


class LoadFailedError(Exception):
    """A segment could not be loaded; the text is the cause, one line."""


class SegmentKeeper(Protocol):
    """Who has the files of the segments."""

    async def load(self, segment: DataSegment) -> None:
        """Have the segment here and serve it; at once if it is here. Raises LoadFailedError."""
        ...

    def drop(self, segment_id: str) -> None:
        """The segment is not announced any more: delete it after a while, unless it is to be loaded again."""
        ...


@attrs.frozen
class _Done:
    """What a lane made of a request."""

    queued: QueuedRequest
    failure: str | None = None

    def wants(self, action: Action) -> DataSegment | None:
        """The segment, if this was a success of that kind."""
        request = self.queued.request
        return request.segment if request.action is action and self.failure is None else None


def wall_ms() -> int:
    """The time of day."""
    return time.time_ns() // 1_000_000


class LoadWorker:
    """Works off one server's queue."""

    def __init__(
        self,
        zk: Client,
        queue: LoadQueueView,
        announcer: SegmentAnnouncer,
        keeper: SegmentKeeper,
        *,
        load_threads: int,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        self._queue = queue
        self._announcer = announcer
        self._keeper = keeper
        self._writer = RequestWriter(zk, clock)
        self._load_threads = self._idle = load_threads
        self._freed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Work for ever."""
        done, finishing = trio.open_memory_channel[_Done](FINISHED_TOGETHER)
        started, loads = trio.open_memory_channel[QueuedRequest](self._load_threads)
        async with trio.open_nursery() as nursery:
            for _ in range(self._load_threads):
                nursery.start_soon(self._lane, loads, done)
            nursery.start_soon(self._start_loads, started)
            nursery.start_soon(self._start_others, done)
            nursery.start_soon(self._finish_all, finishing)

    async def _start_loads(self, started: trio.MemorySendChannel[QueuedRequest]) -> None:
        while True:
            while not self._idle:
                await self._freed.park()
            await self._queue.wait_for(_LOADS)
            for queued in await self._start(self._queue.take(_LOADS, self._idle)):
                self._idle -= 1
                await started.send(queued)

    async def _start_others(self, done: trio.MemorySendChannel[_Done]) -> None:
        while True:
            await self._queue.wait_for(_OTHERS)
            for queued in await self._start(self._queue.take(_OTHERS, _DROPPED_TOGETHER)):
                await done.send(_Done(queued))

    async def _start(self, group: Sequence[QueuedRequest]) -> list[QueuedRequest]:
        """Mark the start of some; returns those that are to be done."""
        started: list[QueuedRequest] = []
        for queued, start in zip(group, await self._writer.start(group), strict=True):
            if start is Start.STARTED:
                started.append(queued)
                continue
            log.info("%s was %s before it was started", queued.path, start.value)
            if start is Start.OVERWRITTEN and not self._queue.knows(queued):
                # What it asked for is lost; it gets an end from which its Coordinator goes on.
                await self._writer.fail(queued, "it took the place of a request that was being started; ask again")
            self._queue.release(queued.name)
        return started

    async def _lane(self, loads: trio.MemoryReceiveChannel[QueuedRequest], done: trio.MemorySendChannel[_Done]) -> None:
        async for queued in loads:
            await done.send(_Done(queued, await self._failure_of(queued)))
            self._idle += 1
            self._freed.unpark()

    async def _failure_of(self, queued: QueuedRequest) -> str | None:
        """Load what is asked for; why it could not be done, None where it was."""
        segment = queued.request.segment
        if segment is None:
            return None
        try:
            encode_segment(segment)
            await self._keeper.load(segment)
        except (LoadFailedError, SegmentTooLargeError) as fault:
            log.error("cannot load %s: %s", segment.id, fault)
            return str(fault)
        except Exception as fault:  # the boundary of one request: its fault must not stop the others
            log.exception("cannot load %s", segment.id)
            return f"{type(fault).__name__}: {fault}"
        return None

    async def _finish_all(self, finishing: trio.MemoryReceiveChannel[_Done]) -> None:
        while True:
            group = [await finishing.receive()]
            with trio.move_on_after(GATHER_S):
                while len(group) < min(FINISHED_TOGETHER, self._queue.unfinished):
                    group.append(await finishing.receive())
            await self._finish(group)

    async def _finish(self, group: Sequence[_Done]) -> None:
        together = {
            one.queued.path: one.queued
            for one in group
            if one.queued.marked and one.failure is None and one.queued.request.segment is not None
        }
        refused = await self._announcer.change(
            add=[segment for one in group if (segment := one.wants(Action.LOAD)) is not None],
            remove=[segment.id for one in group if (segment := one.wants(Action.DROP)) is not None],
            dequeue=[Dequeue(queued.path, queued.version) for queued in together.values()],
        )
        for one in group:
            dropped = one.wants(Action.DROP)
            if dropped is not None:
                self._keeper.drop(dropped.id)
        # What is gone is found to be gone; what has another version is read first.
        for request in refused:
            await self._writer.delete(together[request.path])
        for one in group:
            if one.failure is not None:
                await self._writer.fail(one.queued, one.failure)
            elif one.queued.path not in together:
                await self._writer.delete(one.queued)
            self._queue.release(one.queued.name)
