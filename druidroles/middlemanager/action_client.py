"""How a task asks the leading Overlord for something: its actions, sent again until one that leads has answered.

All actions can be sent twice. While nobody leads, or the leader does not answer, a task waits: it ends when its
MiddleManager ends it, and not because an Overlord is being replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import trio

from druidroles.coordination.leaders import LeaderView
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock

log = logging.getLogger(__name__)

RETRY_S = 1.0
LOCK_WAIT_MS = 30_000  # the Overlord answers null after this, and is asked again
_ANSWER_S = 120.0
# Not the leader (any more), or it cannot just now; another error is about what was asked, and stays.
_AGAIN = frozenset({307, 408, 429, 502, 503, 504})


class ActionFailedError(Exception):
    """The Overlord refuses what the task asks for; the text is its own."""


class ActionClient:
    """The actions of one task."""

    def __init__(self, task: Mapping[str, Any], leaders: LeaderView, http: httpx2.AsyncClient) -> None:
        self._task = task
        self._leaders = leaders
        self._http = http

    async def acquire_lock(self, interval: Interval) -> TaskLock:
        """Wait for the exclusive lock of an interval."""
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

    async def _perform(self, action: Mapping[str, Any]) -> Any:
        body = {"task": self._task, "action": action}
        while True:
            revision = self._leaders.revision.value
            leader = await self._leaders.wait_leader()
            try:
                response = await self._http.post(
                    f"{leader.participant}/druid/indexer/v1/action", json=body, timeout=_ANSWER_S
                )
            except httpx2.HTTPError as fault:
                log.warning("Overlord %s does not answer: %r", leader.participant, fault)
            else:
                if response.status_code == 200:
                    return response.json()["result"]
                if response.status_code not in _AGAIN:
                    raise ActionFailedError(_message(response))
                log.warning("Overlord %s: HTTP %d: %s", leader.participant, response.status_code, _message(response))
            with trio.move_on_after(RETRY_S):
                await self._leaders.changed(revision)


def _message(response: httpx2.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        body = None
    message = body.get("errorMessage") if isinstance(body, dict) else None
    return str(message or response.text[:200] or f"HTTP {response.status_code}")
