"""What a leading Coordinator asks of the leading Overlord: kill tasks, and how many slots there are for them.

Commands carry our epoch, so that a Coordinator that leads no longer is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from druidroles.coordination.leaders import LeaderView
from druidroles.leadership.epochs import EPOCH_HEADER
from druidroles.metadata import LeaderEpoch
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso

TIMEOUT_S = 30.0
_API = "/druid/indexer/v1"


class OverlordError(Exception):
    """The Overlord could not be asked, or refused; the text is one line."""


class KillTaskClient:
    """The leading Overlord, whoever that is at the time."""

    def __init__(self, http: httpx2.AsyncClient, leaders: LeaderView, leader: LeaderEpoch) -> None:
        self._http = http
        self._leaders = leaders
        self._leader = leader

    async def submit_kill(
        self, task_id: str, data_source: str, interval: Interval, unused_since_ms: int | None = None
    ) -> str:
        """Have the segments of an interval deleted for good that have been unused since an instant; the task's id."""
        task = {"type": "kill", "id": task_id, "dataSource": data_source, "interval": str(interval)}
        if unused_since_ms is not None:
            task["maxUsedStatusLastUpdatedTime"] = format_iso(unused_since_ms)
        answer = await self._ask("POST", "/task", task)
        return str(answer.get("task", task_id))

    async def capacity(self) -> int:
        """The task slots of all workers."""
        workers = await self._ask("GET", "/workers")
        return sum(int(entry["worker"]["capacity"]) for entry in workers)

    async def active_kills(self) -> set[str]:
        """The datasources for which a kill task waits or runs."""
        tasks = [*await self._ask("GET", "/runningTasks"), *await self._ask("GET", "/pendingTasks")]
        tasks += await self._ask("GET", "/waitingTasks")
        return {str(task.get("dataSource")) for task in tasks if task.get("type") == "kill"}

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        url = self._leaders.url
        if url is None:
            raise OverlordError("no Overlord leads at the moment")
        headers = {EPOCH_HEADER: str(self._leader.epoch)}
        try:
            answer = await self._http.request(method, url + _API + path, json=body, headers=headers, timeout=TIMEOUT_S)
        except httpx2.HTTPError as fault:
            raise OverlordError(f"the Overlord at {url} does not answer: {fault!r}") from fault
        if answer.status_code != 200:
            raise OverlordError(f"the Overlord at {url} refused with {answer.status_code}: {answer.text[:300]}")
        try:
            return answer.json()
        except ValueError as fault:
            raise OverlordError(f"the Overlord at {url} answered something that is not JSON") from fault
