"""The actions of a task: what it asks of the leading Overlord about locks and segments. All can be sent twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import trio

from druidroles.coordination.leaders import LeaderView
from druidroles.middlemanager.overlord_client import OverlordClient, RefusedError
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.kill import KillSpec
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock

log = logging.getLogger(__name__)

LOCK_WAIT_MS = 30_000  # the Overlord answers null after this, and is asked again


class ActionFailedError(Exception):
    """The Overlord refuses what the task asks for; the text is its own."""


class ActionClient:
    """The actions of one task. `task` is its JSON, with the attempt that it is."""

    def __init__(self, task: Mapping[str, Any], leaders: LeaderView, http: httpx2.AsyncClient) -> None:
        self._task = task
        self._overlord = OverlordClient(leaders, http)

    async def acquire_lock(self, interval: Interval, timeout_s: float = float("inf")) -> TaskLock:
        """Wait for the exclusive lock of an interval; raises ActionFailedError also when the time is up."""
        with trio.move_on_after(timeout_s):
            return await self._acquire_lock(interval)
        raise ActionFailedError(f"the lock of {interval} was not to be had within {timeout_s:.0f} s")

    async def _acquire_lock(self, interval: Interval) -> TaskLock:
        action = {
            "type": "lockAcquire",
            "lockType": "EXCLUSIVE",
            "interval": str(interval),
            "timeoutMs": LOCK_WAIT_MS,
        }
        while True:
            answer = await self._perform(action)
            if answer is not None:
                lock = TaskLock.from_json(answer)
                if lock.revoked:
                    raise ActionFailedError(f"the lock of {interval} was revoked by a task of higher priority")
                return lock
            log.info("waiting for the lock of %s: another task holds it", interval)

    async def publish(self, segments: Sequence[DataSegment]) -> None:
        """Have segments published, all in one transaction. Raises ActionFailedError where they may not be."""
        action = {"type": "segmentTransactionalInsert", "segments": [segment.to_json() for segment in segments]}
        answer = await self._perform(action)
        if not (isinstance(answer, Mapping) and answer.get("success") is True):
            why = answer.get("errorMsg") if isinstance(answer, Mapping) else None
            raise ActionFailedError(f"the segments were not published: {why or answer}")

    async def used_segments(self, interval: Interval) -> list[DataSegment]:
        """The used segments of the task's datasource that overlap an interval."""
        answer = await self._perform({"type": "retrieveUsedSegments", "intervals": [str(interval)]})
        return await _segments(answer)

    async def unused_segments(self, spec: KillSpec) -> list[DataSegment]:
        """The unused segments of the task's datasource that are to be deleted."""
        action = {
            "type": "retrieveUnusedSegments",
            "interval": str(spec.interval),
            "versions": spec.versions,
            "limit": spec.limit,
            "maxUsedStatusLastUpdatedTime": None if spec.unused_since_ms is None else format_iso(spec.unused_since_ms),
        }
        return await _segments(await self._perform(action))

    async def forget_segments(self, segments: Sequence[DataSegment]) -> set[str]:
        """Have the rows of unused segments deleted; the ids of those that have none now, whose files may go."""
        answer = await self._perform({"type": "segmentNuke", "segments": [segment.to_json() for segment in segments]})
        return {str(one) for one in answer}

    async def begin_again(self, worker: str) -> tuple[int, bool]:
        """Have the task's new start counted as a new attempt; its number, and whether an earlier one has published."""
        answer = await self._perform({"type": "coordBeginAgain", "worker": worker})
        return int(answer["attempt"]), bool(answer["published"])

    async def _perform(self, action: Mapping[str, Any]) -> Any:
        try:
            answer = await self._overlord.ask("POST", "/action", {"task": self._task, "action": action})
        except RefusedError as refused:
            raise ActionFailedError(str(refused)) from None
        return answer["result"]


async def _segments(answer: Any) -> list[DataSegment]:
    found = []
    for value in answer:
        found.append(DataSegment.from_json(value))
        await trio.lowlevel.checkpoint()  # there may be tens of thousands, and the session wants the loop too
    return found
