"""The directory of a task on its worker: what goes in, what comes out, and whether a process works there.

    task.json     the task as the Overlord assigned it
    log           what its process wrote to stdout and stderr
    work/         files while it works; removed at the end
    report.json   Druid's task report
    subtasks.json the ids of the sub-tasks that it has submitted
    starts        how often its process was started again after its worker was
    result.json   how it ended, written last: {"status", "errorMsg"}
    lock          held by the process (flock) for as long as it lives, however it ends

All of it blocks: call it in a thread.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from druidroles.atomic_files import write_file
from druidroles.model.decode import ModelError, as_object, need_str, opt_str, parse_json
from druidroles.model.task import TaskState, task_id

KEPT_TASKS = 1000  # whose logs and reports a worker keeps
_POLL_S = 0.1


class TaskDirectoryHeldError(Exception):
    """Another process works in the directory."""


@attrs.frozen
class Result:
    """How a task's process says that it ended."""

    state: TaskState
    error_msg: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> Result:
        """Read one; raises ModelError."""
        obj = as_object(value, "result")
        succeeded = need_str(obj, "status") == TaskState.SUCCESS.value
        return cls(TaskState.SUCCESS if succeeded else TaskState.FAILED, opt_str(obj, "errorMsg"))

    def to_json(self) -> dict[str, Any]:
        """The object in result.json."""
        return {"status": self.state.value, "errorMsg": self.error_msg}


@attrs.frozen
class TaskDirectory:
    """One task's directory."""

    path: Path

    @property
    def log(self) -> Path:
        """The log."""
        return self.path / "log"

    @property
    def work(self) -> Path:
        """Where segments are built."""
        return self.path / "work"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.json"

    def prepare(self, task: Mapping[str, Any]) -> None:
        """Make it ready for a new attempt: nothing of an earlier one is left but the log."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", "subtasks.json", "starts"):
            (self.path / name).unlink(missing_ok=True)
        self._clear()
        write_file(self.path / "task.json", json.dumps(task).encode())

    def restart(self) -> int:
        """Make it ready for the same attempt to begin anew; how often that has been, this time included.

        Raises OSError or ValueError where it is not the directory of a task.
        """
        task_id(self.task())
        starts = self.path / "starts"
        count = int(starts.read_text()) + 1 if starts.exists() else 1
        self._clear()
        write_file(starts, str(count).encode())
        return count

    def _clear(self) -> None:
        self.report.unlink(missing_ok=True)
        self.clean()
        self.work.mkdir()

    def write_sub_tasks(self, ids: Sequence[str]) -> None:
        """Keep the ids of the sub-tasks."""
        write_file(self.path / "subtasks.json", json.dumps(list(ids)).encode())

    def sub_tasks(self) -> list[str]:
        """The ids of the sub-tasks that an earlier start of this attempt submitted."""
        try:
            ids: list[str] = json.loads((self.path / "subtasks.json").read_bytes())
        except FileNotFoundError:
            return []
        return ids

    def task(self) -> dict[str, Any]:
        """The task."""
        task: dict[str, Any] = json.loads((self.path / "task.json").read_bytes())
        return task

    def clean(self) -> None:
        """Remove the files of the work."""
        shutil.rmtree(self.work, ignore_errors=True)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Put the report in place."""
        write_file(self.report, json.dumps(report).encode())

    def write_result(self, result: Result) -> None:
        """Say how it ended."""
        write_file(self.path / "result.json", json.dumps(result.to_json()).encode())

    def result(self) -> Result | None:
        """How it ended; None where its process did not come to say so."""
        try:
            return Result.from_json(parse_json((self.path / "result.json").read_bytes()))
        except (OSError, ModelError):
            return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Work here as the only process. Raises TaskDirectoryHeldError."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise TaskDirectoryHeldError(f"another process works in {self.path}") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def wait_free(self, timeout_s: float) -> bool:
        """Wait until no process works here; False if one still does."""
        deadline = time.monotonic() + timeout_s
        while self.path.is_dir():
            try:
                with self.held():
                    return True
            except TaskDirectoryHeldError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_S)
        return True


def prune(root: Path, running: Iterable[str]) -> None:
    """Of the directories below `root` keep the newest KEPT_TASKS, and those of running tasks."""
    spared = set(running)
    found = [entry for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False) and entry.name not in spared]
    found.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime, reverse=True)
    for entry in found[KEPT_TASKS:]:
        shutil.rmtree(entry.path, ignore_errors=True)
