"""What a leader tells workers over HTTP: every command with its epoch, so that a deposed one is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import quote

import httpx2

from druidroles.coordination.task_queue import TaskTree
from druidroles.leadership.epochs import EPOCH_HEADER

log = logging.getLogger(__name__)

BASE = "/druid/worker/v1"
ANSWER_S = 10.0


class WorkerClient:
    """Of one term, which `depose` ends."""

    def __init__(self, http: httpx2.AsyncClient, tree: TaskTree, epoch: int, depose: Callable[[], None]) -> None:
        self._http = http
        self._tree = tree
        self._epoch = epoch
        self._depose = depose

    def url(self, worker: str, path: str) -> str:
        """Where a worker answers, announced or not; `path` is below `/druid/worker/v1`."""
        announced = self._tree.workers.get(worker)
        return (announced.url if announced is not None else f"http://{worker}") + BASE + path

    async def post(self, worker: str, path: str) -> httpx2.Response:
        """Command a worker; where it knows a higher epoch this term is over. Raises HTTPError."""
        headers = {EPOCH_HEADER: str(self._epoch)}
        response = await self._http.post(self.url(worker, path), headers=headers, timeout=ANSWER_S)
        if response.status_code == 409:
            self._depose()
        return response

    async def stop(self, worker: str, task_id: str) -> None:
        """Tell a worker to end a task. Whether it does is seen by what becomes of the task's status."""
        log.info("telling worker %s to stop task %s", worker, task_id)
        try:
            response = await self.post(worker, f"/task/{quote(task_id, safe='')}/shutdown")
        except httpx2.HTTPError as fault:
            log.warning("worker %s cannot be told to stop task %s: %r", worker, task_id, fault)
        else:
            if response.status_code >= 400:
                log.warning("worker %s does not stop task %s: %s", worker, task_id, response.text[:200])
