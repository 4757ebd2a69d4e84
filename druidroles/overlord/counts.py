"""What the Overlord counts, under Druid's names (Druid documentation, "Metrics", indexing service).

Made once a process: the numbers go on over the terms of leading.
"""

from __future__ import annotations

from druidroles.http.metrics import Metrics
from druidroles.metadata import TaskRow
from druidroles.model.iso import parse_iso
from druidroles.model.task import TaskState, TaskStatus


class Counts:
    """The metrics of one Overlord."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        self.actions = metrics.timer("task/action/run/time", "how long a task's action took")
        self._pending = metrics.timer("task/pending/time", "how long a task waited for a slot")
        self._run = metrics.timer("task/run/time", "how long a task ran")
        self._success = metrics.counter("task/success/count", "tasks that succeeded")
        self._failed = metrics.counter("task/failed/count", "tasks that failed")

    def assigned(self, row: TaskRow, now_ms: int) -> None:
        """A task was given to a worker."""
        self._pending.observe(max(0, now_ms - parse_iso(row.created_date)) / 1000, **_labels(row))

    def ended(self, row: TaskRow, status: TaskStatus) -> None:
        """A task has ended."""
        (self._success if status.state is TaskState.SUCCESS else self._failed).add(1, **_labels(row))
        if status.duration_ms >= 0:
            self._run.observe(status.duration_ms / 1000, taskStatus=status.state.value, **_labels(row))


def _labels(row: TaskRow) -> dict[str, str]:
    return {"taskType": row.type, "dataSource": row.data_source}
