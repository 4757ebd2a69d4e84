"""The Overlord's side of the task queue: what it sees of workers, assignments and statuses, and its fenced writes.

An assignment is an EPHEMERAL of the Overlord's session at `indexer/tasks/{worker}/{task}`, the task's JSON with one key
of ours, `"coord": {"attempt": n}`. The worker claims it by one transaction that deletes it and creates the PERSISTENT
status. One subscription covers all three subtrees, so that this transaction is taken over whole: read one after the
other, the assignment could be seen gone before the status is seen to have come, and the task be given away twice.

Every write begins with the check of the leader's latch. Where that fails the error has index 0, and it is left to the
latch to say what it means; every other refusal is the tree having moved on, and is told by the return value.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from typing import Any

import attrs

from coordserver.client import (
    Client,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    Term,
    Transaction,
    TransactionFailedError,
)
from coordserver.client.values import Node
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.coordination.published import tell_published
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.decode import ModelError
from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskStatus

log = logging.getLogger(__name__)

Place = tuple[str, str]  # (worker host:port, task id)


class TaskTree(View):
    """Workers by host:port, the unclaimed assignments with their czxid, and the statuses. None is to be changed.

    `directories` are the workers, announced or not, that have a directory for assignments or for statuses.
    """

    def __init__(self, zk: Client, paths: DruidPaths) -> None:
        super().__init__(zk)
        self.workers: dict[str, Worker] = {}
        self.assignments: dict[Place, int] = {}
        self.statuses: dict[Place, TaskAnnouncement] = {}
        self._directories: dict[str, set[str]] = {}
        self._paths = paths

    @property
    def directories(self) -> Set[str]:
        """See above."""
        return self._directories.keys()

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._paths.indexer, self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        match parts:
            case ("announcements", host):
                self._take_worker(host, znode)
            case ("tasks", host, task):
                if znode is None:
                    self.assignments.pop((host, task), None)
                else:
                    self.assignments[host, task] = znode.stat.czxid
            case ("status", host, task):
                self._take_status((host, task), znode)
            case ("tasks" | "status" as kind, host):
                self._take_directory(host, kind, znode)

    def _take_worker(self, host: str, znode: Node | None) -> None:
        worker = decoded(self._paths.worker(host), znode, lambda data: Worker.from_json(loads(data)))
        if worker is None:
            self.workers.pop(host, None)
        else:
            # The znode's name is what its tasks lie under, whatever the payload calls it.
            self.workers[host] = attrs.evolve(worker, host=host)

    def _take_directory(self, host: str, kind: str, znode: Node | None) -> None:
        if znode is not None:
            self._directories.setdefault(host, set()).add(kind)
        elif host in self._directories:
            self._directories[host].discard(kind)
            if not self._directories[host]:
                del self._directories[host]

    def _take_status(self, place: Place, znode: Node | None) -> None:
        if znode is None:
            self.statuses.pop(place, None)
        else:
            self.statuses[place] = _read_status(self._paths.task_status(*place), place[1], znode.data)


def _read_status(path: str, task_id: str, data: bytes) -> TaskAnnouncement:
    """The status in a znode. Garbage is a failure of its task: skipped, the task would be held for pending for ever."""
    try:
        announcement = TaskAnnouncement.from_json(loads(data))
        if announcement.id != task_id:
            raise ModelError(f"it is of task {announcement.id!r}")
    except ModelError as fault:
        log.warning("status %s is malformed: %s", path, fault)
        return TaskAnnouncement(TaskStatus.failure(task_id, f"malformed status: {fault}"), "", "", task_id)
    return announcement


class TaskQueue:
    """What one leader writes, in one term."""

    def __init__(self, zk: Client, paths: DruidPaths, term: Term) -> None:
        self._zk = zk
        self._paths = paths
        self._term = term

    async def claimed(self, worker: str, task_id: str) -> bool:
        """Whether the worker has a status of the task, asked of the tree itself and not of the view."""
        return await self._zk.exists(self._paths.task_status(worker, task_id)) is not None

    async def assign(self, worker: str, task_id: str, task: Mapping[str, Any], attempt: int) -> bool:
        """Put a task into a worker's queue. False if something stood in the way; what did is gone then, or logged."""
        path = self._paths.task(worker, task_id)
        data = dumps({**task, "coord": {"attempt": attempt}})
        try:
            await self._fenced(self._transaction().create(path, data, ephemeral=True))
        except NodeExistsError:
            log.warning("%s holds another attempt: it is withdrawn", path)
            await self.withdraw(worker, task_id)
            return False
        except NoNodeError:
            # It was away for so long that they were removed; it makes them only at its start.
            log.warning("worker %s has no directory for tasks: it gets one", worker)
            for directory in (self._paths.tasks_of(worker), self._paths.status_of(worker)):
                await self._zk.ensure_path(directory)
            return False
        return True

    async def withdraw(self, worker: str, task_id: str) -> bool:
        """Take an unclaimed assignment back. False if it was gone: claimed, perhaps."""
        return await self._remove(self._paths.task(worker, task_id))

    async def forget(self, worker: str, task_id: str) -> bool:
        """Remove a status. False if it was gone."""
        return await self._remove(self._paths.task_status(worker, task_id))

    async def clear(self, worker: str) -> bool:
        """Remove the empty directories of a worker. False if they are not empty (any more)."""
        for path in (self._paths.tasks_of(worker), self._paths.status_of(worker)):
            try:
                await self._remove(path)
            except NotEmptyError:
                return False
        return True

    async def tell_published(self, what: str) -> None:
        """See published.py."""
        await tell_published(self._zk, self._paths, self._term, what)

    async def _remove(self, path: str) -> bool:
        try:
            await self._fenced(self._transaction().delete(path))
        except NoNodeError:
            return False
        return True

    def _transaction(self) -> Transaction:
        return self._term.check(self._zk.transaction())

    async def _fenced(self, transaction: Transaction) -> None:
        """Commit; a refusal of anything but the fence comes out as what it is."""
        try:
            await transaction.commit()
        except TransactionFailedError as failed:
            if failed.index == 0:
                raise
            raise failed.cause from None
