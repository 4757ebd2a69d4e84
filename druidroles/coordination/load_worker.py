"""The Historical's side of the load queue: from a request in the tree to its deletion (Druid's ZkCoordinator and
SegmentLoadDropHandler).

Lanes take requests; loads have lanes of their own, so that a drop never waits for a download. What the lanes have done
comes to one task that finishes it: everything that came meanwhile is announced, or announced no more, and dequeued in
one transaction. While the tree cannot be reached the lanes soon wait for that task, and serving goes on.
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
from druidroles.coordination.load_requests import LoadQueueView, QueuedRequest, RequestWriter, Start
from druidroles.model.change_request import Action
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

FINISHED_TOGETHER = 100
_DROP_LANES = 4  # to start a request takes a round trip; these overlap

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
        self._load_threads = load_threads

    async def run(self) -> None:
        """Work for ever."""
        done, finishing = trio.open_memory_channel[_Done](FINISHED_TOGETHER)
        async with trio.open_nursery() as nursery:
            for actions, lanes in ((_LOADS, self._load_threads), (_OTHERS, _DROP_LANES)):
                for _ in range(lanes):
                    nursery.start_soon(self._lane, actions, done)
            nursery.start_soon(self._finish_all, finishing)

    async def _lane(self, actions: Sequence[Action], done: trio.MemorySendChannel[_Done]) -> None:
        while True:
            queued = await self._queue.next(actions)
            start = await self._writer.start(queued)
            if start is Start.STARTED:
                await done.send(_Done(queued, await self._failure_of(queued)))
                continue
            log.info("%s was %s before it was started", queued.path, start.value)
            if start is Start.OVERWRITTEN and not self._queue.knows(queued):
                # What it asked for is lost; it gets an end from which its Coordinator goes on.
                await self._writer.fail(queued, "it took the place of a request that was being started; ask again")
            self._queue.release(queued.name)

    async def _failure_of(self, queued: QueuedRequest) -> str | None:
        """Do what is asked; why it could not be done, None where it was."""
        segment = queued.request.segment
        if queued.request.action is not Action.LOAD or segment is None:
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
            while len(group) < FINISHED_TOGETHER:
                try:
                    group.append(finishing.receive_nowait())
                except trio.WouldBlock:
                    break
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
