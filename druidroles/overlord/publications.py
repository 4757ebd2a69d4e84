"""Telling of publications through the tree, so that Coordinators and Brokers need not wait for their next poll."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from coordserver.client import ConnectionLossError, ThrottledError
from coordserver.core.errors import DiskFullError
from druidroles.coordination.task_queue import TaskQueue
from druidroles.metadata import LeaderEpoch
from druidroles.model.iso import format_iso

log = logging.getLogger(__name__)

RETRY_S = 1.0


class Publications:
    """Of one term. Several that happen together are told once."""

    def __init__(self, queue: TaskQueue, leader: LeaderEpoch, wall_ms: Callable[[], int]) -> None:
        self._queue = queue
        self._leader = leader
        self._wall_ms = wall_ms
        self._noted = trio.Event()

    def note(self) -> None:
        """Segments were committed."""
        self._noted.set()

    async def run(self) -> None:
        """Tell, for ever. Raises what the fence says."""
        while True:
            await self._noted.wait()
            self._noted = trio.Event()
            try:
                await self._queue.tell_published({"epoch": self._leader.epoch, "at": format_iso(self._wall_ms())})
            except (ConnectionLossError, ThrottledError, DiskFullError) as fault:
                log.warning("telling of a publication again after: %s", fault)
                self._noted.set()
                await trio.sleep(RETRY_S)
