"""Running one claimed task as a process of its own, from its start to its last status.

The process ends when the MiddleManager does, however that ends (the lifeline). Its stdout carries one READY line with
the address where it answers, told on in the task's status; everything it says goes into its log.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

import trio

from druidroles.coordination.task_worker import WorkerTasks
from druidroles.errors import first_leaf
from druidroles.lifeline import Lifeline
from druidroles.middlemanager.task_dir import TaskDirectory
from druidroles.model.task import UNKNOWN_LOCATION, TaskAnnouncement, TaskLocation, TaskState, TaskStatus

log = logging.getLogger(__name__)

PEON_MODULE = "druidroles.middlemanager.peon"
END_S = 3.0  # to write the last status when the MiddleManager itself stops
_LINE_MAX = 4096


class TaskProcess:
    """One task that this worker has claimed."""

    def __init__(
        self,
        tasks: WorkerTasks,
        announcement: TaskAnnouncement,
        directory: TaskDirectory,
        arguments: Sequence[str],
        lifeline: Lifeline,
        *,
        restore: bool = False,
    ) -> None:
        self.announcement = announcement
        self.directory = directory
        self.location = UNKNOWN_LOCATION
        self.process: trio.Process | None = None
        self._tasks = tasks
        self._command = [sys.executable, "-m", PEON_MODULE, str(directory.path), *arguments]
        self._lifeline = lifeline
        self._restore = restore
        self._scope = trio.CancelScope()
        self._why: str | None = None
        self._begun = trio.current_time()

    def stop(self, why: str) -> None:
        """End the process; the task fails with this message, unless it has ended by itself."""
        if self._why is None:
            log.info("task %s is stopped: %s", self.announcement.id, why)
            self._why = why
            self._scope.cancel(reason=why)

    async def run(self) -> None:
        """Run it and write its last status."""
        code: int | None = None
        over = False
        try:
            with self._scope:
                code = await self._run_process()
            over = True
        finally:
            # Not `except Cancelled`: it comes in a group, out of the nursery that the process runs in.
            if not over:
                stopped = self._why is None
                self._why = self._why or "the MiddleManager stopped"
                with trio.CancelScope(shield=True, deadline=trio.current_time() + END_S):
                    await self._end(code, may_begin_anew=stopped and self._restore)
        await self._end(code)

    async def _run_process(self) -> int | None:
        """Its exit code, None if it could not be started."""
        code: int | None = None
        try:
            code = await self._start_and_follow()
        except* OSError as fault:
            self._why = f"its process cannot be started: {first_leaf(fault)}"
        return code

    async def _start_and_follow(self) -> int:
        with self.directory.log.open("ab") as sink:
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(
                    partial(
                        trio.run_process,
                        self._command,
                        stdout=subprocess.PIPE,
                        stderr=sink,
                        check=False,
                        pass_fds=[self._lifeline.read_fd],
                        env={**os.environ, **self._lifeline.environment},
                    )
                )
                self.process = process
                log.info("task %s runs in process %d", self.announcement.id, process.pid)
                await self._follow(process)
        code = process.returncode
        assert code is not None, "run_process has waited for it"
        return code

    async def _follow(self, process: trio.Process) -> None:
        """Read what it prints, until it closes stdout."""
        assert process.stdout is not None
        pending = b""
        async for chunk in process.stdout:
            *lines, pending = (pending + chunk).split(b"\n")
            pending = pending[-_LINE_MAX:]
            for line in lines:
                if line.startswith(b"READY ") and self.location == UNKNOWN_LOCATION:
                    await self._located(line.decode("utf-8", "replace").split()[-1])

    async def _located(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        if not port.isdigit():
            return
        self.location = TaskLocation(host, int(port))
        running = TaskStatus.running(self.announcement.id, self.location)
        if not await self._tasks.say(self.announcement.with_status(running)):
            self.stop("its status was removed")

    async def _end(self, code: int | None, may_begin_anew: bool = False) -> None:
        result = await trio.to_thread.run_sync(self.directory.result)
        await trio.to_thread.run_sync(self.directory.clean)
        task_id = self.announcement.id
        if result is None and may_begin_anew:
            log.info("task %s begins anew when the MiddleManager starts again", task_id)
            return
        duration_ms = int((trio.current_time() - self._begun) * 1000)
        if result is not None and result.state is TaskState.SUCCESS:
            status = TaskStatus.success(task_id, duration_ms, self.location)
        else:
            said = result.error_msg if result is not None else None
            why = said or self._why or f"the task's process ended with code {code}, see its log"
            status = TaskStatus.failure(task_id, why, duration_ms, self.location)
        log.info("task %s: %s after %d ms", task_id, status.state.value, duration_ms)
        if not await self._tasks.say(self.announcement.with_status(status)):
            log.info("task %s: the Overlord has removed its status already", task_id)
