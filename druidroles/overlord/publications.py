"""Telling of publications through the tree, so that Coordinators and Brokers need not wait for their next poll."""

from __future__ import annotations

import logging

import trio

from coordserver.client import ThrottledError
from coordserver.core.model.errors import DiskFullError
from druidroles.coordination.task_queue import TaskQueue

log = logging.getLogger(__name__)

RETRY_S = 1.0


class Publications:
    """Of one term. Several that happen together are told once."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
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
                await self._queue.tell_published("segments were published")
            except (ThrottledError, DiskFullError) as fault:
                log.warning("telling of a publication again after: %s", fault)
                self._noted.set()
                await trio.sleep(RETRY_S)
