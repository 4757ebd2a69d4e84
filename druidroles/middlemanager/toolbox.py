"""What a task works with, whatever its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import httpx2

from druidroles.coordination.leaders import LeaderView
from druidroles.deepstorage import DeepStorage
from druidroles.middlemanager.action_client import ActionClient
from druidroles.middlemanager.overlord_client import OverlordClient
from druidroles.middlemanager.report import Progress
from druidroles.middlemanager.task_dir import TaskDirectory


class TaskFailedError(Exception):
    """The task cannot do its work; the text is one line for its status."""


@attrs.frozen(kw_only=True)
class Toolbox:
    """One task's tools. `task` is its JSON as the worker got it."""

    task: Mapping[str, Any]
    directory: TaskDirectory
    deep_storage: DeepStorage
    leaders: LeaderView
    http: httpx2.AsyncClient
    progress: Progress

    @property
    def actions(self) -> ActionClient:
        """The task's own actions."""
        return self.actions_of(self.task)

    def actions_of(self, task: Mapping[str, Any]) -> ActionClient:
        """Actions on behalf of a task: of a supervisor, by its sub-tasks."""
        return ActionClient(task, self.leaders, self.http)

    @property
    def overlord(self) -> OverlordClient:
        """For what is no action."""
        return OverlordClient(self.leaders, self.http)
