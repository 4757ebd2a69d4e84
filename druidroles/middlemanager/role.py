"""The MiddleManager: announces its slots, claims what it is assigned, and runs each task in a process of its own.

A start begins with what a predecessor at this address left behind: its processes ended with it, though statuses still
say RUNNING. Where a process had come to the end of its work the result counts; the others begin anew, as a new attempt
that the Overlord counts first: what the old one still has under way is refused, and what it has published is not done
again. Only then the worker announces itself and takes tasks.
"""

from __future__ import annotations

import logging
import socket
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import attrs
import httpx2
import trio
from starlette.routing import BaseRoute

from coordserver.client import Announcement
from druidroles.coordination.leaders import contends
from druidroles.coordination.payloads import dumps_gz
from druidroles.coordination.status import StatusAnnouncer, announced_status
from druidroles.coordination.task_worker import Assignment, AssignmentView, WorkerTasks
from druidroles.deepstorage import DeepStorageError, DeepStorageLocation, open_deep_storage
from druidroles.leadership.epochs import EpochGuard
from druidroles.lifeline import Lifeline
from druidroles.middlemanager.kept_port import keep_port
from druidroles.middlemanager.resources import WorkerResources
from druidroles.middlemanager.runner import TaskProcess
from druidroles.middlemanager.task_dir import TaskDirectory, prune
from druidroles.model.server import DEFAULT_WORKER_CATEGORY, WORKER_NODE_SERVICE, NodeRole, Worker
from druidroles.model.task import TaskAnnouncement, TaskState, TaskStatus
from druidroles.process import Role, RoleContext, StartError, require_name

log = logging.getLogger(__name__)

WORKER_VERSION = "0"
ORPHAN_S = 10.0  # a process whose MiddleManager is gone ends within this
RESTARTS_MAX = 3  # of one task
_UNKNOWN = "canceled as unknown"  # Druid's words
PORTS = 1000  # of tasks, from task_port upward


@attrs.frozen(kw_only=True)
class MiddleManagerSettings:
    """`capacity` is the number of slots; tasks listen from `task_port` upward (0: on free ports).

    `restore` is Druid's `restoreTasksOnRestart`: tasks that run when the worker stops begin anew when it starts again,
    instead of failing. Local input comes from `input_dirs` alone.
    """

    deep_storage: DeepStorageLocation
    capacity: int = 2
    task_port: int = 8100
    category: str = DEFAULT_WORKER_CATEGORY
    input_dirs: tuple[Path, ...] = ()
    restore: bool = True


class MiddleManager:
    """See Role."""

    def __init__(self, context: RoleContext, settings: MiddleManagerSettings) -> None:
        self.processes: dict[str, TaskProcess] = {}
        self.host_port = context.host_port
        self._context = context
        self._settings = settings
        self._root = context.settings.data_dir / "tasks"
        self._tasks = WorkerTasks(context.zk, context.paths, context.host_port)
        self._assignments = AssignmentView(context.zk, context.paths, context.host_port)
        self._worker = Worker(
            context.host_port,
            ip=_ip(context.settings.host),
            capacity=settings.capacity,
            version=WORKER_VERSION,
            category=settings.category,
        )
        self._announcement: Announcement | None = None
        self._ports: dict[str, int] = {}

    @property
    def http(self) -> httpx2.AsyncClient:
        """To ask the tasks' processes with."""
        return self._context.http

    @property
    def enabled(self) -> bool:
        """Whether it takes new tasks."""
        return self._worker.enabled

    def routes(self) -> list[BaseRoute]:
        """See WorkerResources."""
        context = self._context
        guard = EpochGuard("Overlord", partial(contends, context.zk, context.paths.overlord_latch))
        return WorkerResources(self, guard).routes()

    def discovery_services(self) -> dict[str, dict[str, object]]:
        """Its slots, as Druid's HTTP task runner looks them up."""
        return {WORKER_NODE_SERVICE: self._worker.node_service()}

    def directory(self, task_id: str) -> TaskDirectory:
        """Where a task's files are. Ids come from URLs too: a slash or a leading dot leads nowhere."""
        return TaskDirectory(self._root / task_id.replace("/", "_").lstrip("."))

    async def enable(self, enabled: bool) -> None:
        """Announce that it takes new tasks, or (an empty version, as Druid's) no more. What runs goes on."""
        self._worker = attrs.evolve(self._worker, version=WORKER_VERSION if enabled else "")
        if self._announcement is not None:
            await self._announcement.update(dumps_gz(self._worker.to_json()))

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Work for ever; when cancelled the processes are ended and their tasks fail."""
        try:
            await trio.to_thread.run_sync(open_deep_storage, self._settings.deep_storage)
        except DeepStorageError as fault:
            raise StartError(str(fault)) from None
        await trio.to_thread.run_sync(partial(self._root.mkdir, exist_ok=True))
        context = self._context
        port = int(self.host_port.rpartition(":")[2])
        await trio.to_thread.run_sync(keep_port, context.settings.data_dir, port)
        await self._tasks.prepare(time.time_ns() // 1_000_000)
        begun = await self._settle_predecessor()
        async with AsyncExitStack() as stack:
            lifeline = Lifeline()
            stack.callback(lifeline.close)
            self._announcement = await stack.enter_async_context(self._tasks.announce(self._worker))
            status = await stack.enter_async_context(
                announced_status(context.zk, context.paths, NodeRole.MIDDLE_MANAGER, self.host_port, self._slots())
            )
            await stack.enter_async_context(self._assignments)
            await self._assignments.wait_synced()
            nursery = await stack.enter_async_context(trio.open_nursery())
            for announcement in begun:
                self._start(announcement, nursery, lifeline, "--begins-again-at", self.host_port)
            task_status.started()
            await self._claim_for_ever(nursery, lifeline, status)

    async def _settle_predecessor(self) -> list[TaskAnnouncement]:
        """Say how the tasks ended that are said to run; returns those that are to begin anew."""
        begin = []
        for task_id, announcement in (await self._tasks.statuses()).items():
            if announcement.status.is_complete:
                continue
            directory = self.directory(task_id)
            wait_free = partial(directory.wait_free, ORPHAN_S)
            free = await trio.to_thread.run_sync(wait_free, abandon_on_cancel=True)
            result = await trio.to_thread.run_sync(directory.result)
            if result is not None and result.state is TaskState.SUCCESS:
                status = TaskStatus.success(task_id, -1)
            elif result is not None:
                status = TaskStatus.failure(task_id, result.error_msg or "it failed")
            else:
                trouble = await self._restart(directory) if free else "its earlier process is still there"
                if trouble is None:
                    again = announcement.with_status(TaskStatus.running(task_id))
                    if await self._tasks.say(again):
                        log.warning("task %s of an earlier process begins anew", task_id)
                        begin.append(again)
                    continue
                status = TaskStatus.failure(task_id, trouble)
            log.warning("task %s of an earlier process: %s", task_id, status.state.value)
            await self._tasks.say(announcement.with_status(status))
        return begin

    async def _restart(self, directory: TaskDirectory) -> str | None:
        """Make a task's directory ready to begin anew; why that cannot be, None if it can."""
        if not self._settings.restore:
            return _UNKNOWN
        try:
            count = await trio.to_thread.run_sync(directory.restart)
        except (OSError, ValueError) as fault:
            log.warning("%s cannot be used again: %s", directory.path, fault)
            return _UNKNOWN
        # A task that brings its worker down each time shall not do so for ever.
        return None if count <= RESTARTS_MAX else f"its worker was restarted {count} times while it ran"

    async def _claim_for_ever(self, nursery: trio.Nursery, lifeline: Lifeline, status: StatusAnnouncer) -> None:
        view = self._assignments
        while True:
            revision = view.revision.value
            for assignment in list(view.assignments.values()):
                if assignment.id not in self.processes and self._fits(assignment.announcement):
                    await self._claim(assignment, nursery, lifeline)
            status.say(**self._slots())
            await view.changed(revision)

    async def _claim(self, assignment: Assignment, nursery: trio.Nursery, lifeline: Lifeline) -> None:
        task_id = assignment.id
        directory = self.directory(task_id)
        # Before the claim: should we end right after it, no result of an earlier attempt is taken for this one's.
        trouble = None
        try:
            await trio.to_thread.run_sync(directory.prepare, assignment.task)
        except OSError as fault:
            trouble = f"its directory cannot be made: {fault}"
        if not await self._tasks.claim(assignment):
            log.info("task %s is not ours to start", task_id)
            return
        if trouble is not None:
            log.error("task %s: %s", task_id, trouble)
            await self._tasks.say(assignment.announcement.with_status(TaskStatus.failure(task_id, trouble)))
            return
        self._start(assignment.announcement, nursery, lifeline)

    def _start(
        self, announcement: TaskAnnouncement, nursery: trio.Nursery, lifeline: Lifeline, *arguments: str
    ) -> None:
        task_id = announcement.id
        process = TaskProcess(
            self._tasks,
            announcement,
            self.directory(task_id),
            [*self._peon_arguments(task_id), *arguments],
            lifeline,
            restore=self._settings.restore,
        )
        self.processes[task_id] = process
        nursery.start_soon(self._run, process)

    async def _run(self, process: TaskProcess) -> None:
        task_id = process.announcement.id
        try:
            await process.run()
        finally:
            del self.processes[task_id]
            self._ports.pop(task_id, None)
            self._assignments.revision.bump()
        await trio.to_thread.run_sync(prune, self._root, list(self.processes))

    def _peon_arguments(self, task_id: str) -> list[str]:
        settings = self._context.settings
        return [
            *("--coord", str(settings.coord)),
            *("--session-timeout", str(settings.session_timeout_s)),
            *("--deep-storage", str(self._settings.deep_storage)),
            *(word for path in self._settings.input_dirs for word in ("--input-dir", str(path))),
            *("--host", settings.host),
            *("--port", str(self._take_port(task_id))),
        ]

    def _take_port(self, task_id: str) -> int:
        first = self._settings.task_port
        if first == 0:
            return 0
        taken = set(self._ports.values())
        free = (port for port in range(first, first + PORTS) if port not in taken)
        self._ports[task_id] = next(free, 0)
        return self._ports[task_id]

    def _used(self) -> int:
        return sum(process.announcement.required_capacity for process in self.processes.values())

    def _fits(self, announcement: TaskAnnouncement) -> bool:
        # A task that needs more than there is runs alone: the Overlord would not have sent it for no reason.
        used = self._used()
        return used == 0 or used + announcement.required_capacity <= self._settings.capacity

    def _slots(self) -> dict[str, object]:
        used, capacity = self._used(), self._settings.capacity
        return {
            "slotsUsed": used,
            "slotsFree": max(0, capacity - used),
            "capacity": capacity,
            "tasks": sorted(self.processes),
        }


def _ip(host: str) -> str:
    """The address of a host name; the name itself where it has none."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def build(context: RoleContext, settings: MiddleManagerSettings) -> Role:
    """The role for `run_role`. Raises StartError."""
    require_name(settings.category, "--category")
    return MiddleManager(context, settings)
