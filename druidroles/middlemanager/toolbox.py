"""What a task works with, whatever its type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import trio

from druidroles.coordination.leaders import LeaderView
from druidroles.deepstorage import DeepStorage
from druidroles.middlemanager.action_client import ActionClient
from druidroles.middlemanager.overlord_client import OverlordClient
from druidroles.middlemanager.report import Progress
from druidroles.middlemanager.task_dir import TaskDirectory
from druidroles.segments.build import BuildResult, build_segments
from druidroles.segments.spec import IngestionSpec


class TaskFailedError(Exception):
    """The task cannot do its work; the text is one line for its status."""


@attrs.frozen(kw_only=True)
class Toolbox:
    """One task's tools. `task` is its JSON as the worker got it. Local input comes from `input_dirs` alone."""

    task: Mapping[str, Any]
    directory: TaskDirectory
    deep_storage: DeepStorage
    leaders: LeaderView
    http: httpx2.AsyncClient
    progress: Progress
    input_dirs: tuple[Path, ...] = ()

    @property
    def actions(self) -> ActionClient:
        """The task's own actions."""
        return self.actions_of(self.task)

    def actions_of(self, task: Mapping[str, Any]) -> ActionClient:
        """Actions on behalf of a task: of a supervisor, by its sub-tasks."""
        return ActionClient(task, self.leaders, self.http)

    async def build(self, spec: IngestionSpec) -> BuildResult:
        """Build the segments of a spec. Raises IngestionError."""
        building = partial(build_segments, spec, self.directory.work, input_dirs=self.input_dirs)
        return await trio.to_thread.run_sync(building)

    @property
    def overlord(self) -> OverlordClient:
        """For what is no action."""
        return OverlordClient(self.leaders, self.http)
