"""The MiddleManager's side of the task queue: announcing itself, claiming, and saying how its tasks fare.

A worker claims by ONE transaction: delete the assignment, create the PERSISTENT status. If that fails the task is not
started, so an assignment that was withdrawn, or is a deposed Overlord's, starts nothing. Nobody but the worker writes
its statuses; the Overlord deletes them once it has recorded the end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import attrs
import trio

from coordserver.client import (
    Announcement,
    Client,
    ConnectionLossError,
    CoordError,
    NodeExistsError,
    NoNodeError,
    OutcomeUnknownError,
    SessionExpiredError,
    ThrottledError,
    TransactionFailedError,
    announced,
)
from coordserver.client.values import Node
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, dumps_gz, loads
from druidroles.coordination.persistence import until_answered
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.decode import ModelError, as_object
from druidroles.model.iso import format_iso
from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskStatus, task_id

log = logging.getLogger(__name__)

_PASSING = (ConnectionLossError, OutcomeUnknownError, SessionExpiredError, ThrottledError)
_RETRY_S = 0.2


@attrs.frozen
class Assignment:
    """A task that waits in the worker's queue: its JSON, and what its first status will say."""

    task: Mapping[str, Any]
    announcement: TaskAnnouncement

    @property
    def id(self) -> str:
        """The task's id."""
        return self.announcement.id

    @classmethod
    def read(cls, name: str, data: bytes) -> Assignment:
        """Read the payload of the assignment `name`; raises ModelError."""
        task = as_object(loads(data), "task")
        if task_id(task) != name:
            raise ModelError(f"it is of task {task_id(task)!r}")
        return cls(task, TaskAnnouncement.of(task, TaskStatus.running(name)))


class AssignmentView(View):
    """The unclaimed assignments of one worker, by task id, in the order in which they were seen."""

    def __init__(self, zk: Client, paths: DruidPaths, host_port: str) -> None:
        super().__init__(zk)
        self.assignments: dict[str, Assignment] = {}
        self._paths = paths
        self._host_port = host_port

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._paths.tasks_of(self._host_port), self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        if len(parts) != 1:
            return
        name = parts[0]
        path = self._paths.task(self._host_port, name)
        assignment = decoded(path, znode, lambda data: Assignment.read(name, data))
        if assignment is None:
            self.assignments.pop(name, None)
        else:
            self.assignments[name] = assignment


class WorkerTasks:
    """What one worker writes. Each write waits over reconnects and new sessions until its outcome is known."""

    def __init__(self, zk: Client, paths: DruidPaths, host_port: str) -> None:
        self._zk = zk
        self._paths = paths
        self._host_port = host_port

    async def prepare(self, now_ms: int) -> None:
        """Make the worker's two directories, as Druid's worker makes them."""
        created = dumps({"created": format_iso(now_ms)})
        for path in (self._paths.tasks_of(self._host_port), self._paths.status_of(self._host_port)):
            try:
                await until_answered(partial(self._zk.create, path, created, makepath=True))
            except NodeExistsError:
                log.debug("%s is there from an earlier start", path)

    def announce(self, worker: Worker) -> AbstractAsyncContextManager[Announcement]:
        """Announce the worker for as long as the block lasts."""
        return announced(self._zk, self._paths.worker(self._host_port), dumps_gz(worker.to_json()))

    async def statuses(self) -> dict[str, TaskAnnouncement]:
        """What stands in the tree of this worker's tasks; garbage is skipped with a warning."""
        found: dict[str, TaskAnnouncement] = {}
        names = await self._zk.children(self._paths.status_of(self._host_port))
        paths = [self._paths.task_status(self._host_port, name) for name in names]
        for name, path, node in zip(names, paths, await self._zk.read_many(paths), strict=True):
            announcement = decoded(path, node, lambda data: TaskAnnouncement.from_json(loads(data)))
            if announcement is not None:
                found[name] = announcement
        return found

    async def claim(self, assignment: Assignment) -> bool:
        """Take a task from the queue; False if it is not ours to start: withdrawn, or a status of it is there."""
        path = self._paths.task_status(self._host_port, assignment.id)
        data = dumps(assignment.announcement.to_json())
        unknown = False
        while True:
            claim = self._zk.transaction().delete(self._paths.task(self._host_port, assignment.id))
            try:
                await claim.create(path, data).commit()
            except TransactionFailedError as failed:
                if not isinstance(failed.cause, (NoNodeError, NodeExistsError)):
                    raise
                # Only we create statuses here: one that stands after a try without an answer is that try's.
                return unknown and await self._stands(path)
            except _PASSING as error:
                unknown = unknown or not isinstance(error, ThrottledError)
                await self._pause(error)
            else:
                return True

    async def say(self, announcement: TaskAnnouncement) -> bool:
        """Write a task's status; False if the Overlord has removed it, and wants to hear no more of it."""
        path = self._paths.task_status(self._host_port, announcement.id)
        while True:
            try:
                await self._zk.set(path, dumps(announcement.to_json()))
            except NoNodeError:
                return False
            except _PASSING as error:
                await self._pause(error)
            else:
                return True

    async def _stands(self, path: str) -> bool:
        while True:
            try:
                return await self._zk.exists(path) is not None
            except _PASSING as error:
                await self._pause(error)

    async def _pause(self, error: CoordError) -> None:
        log.info("trying again after: %s", error)
        await trio.sleep(_RETRY_S)
