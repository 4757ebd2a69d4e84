"""What the Overlord counts, under Druid's names (Druid documentation, "Metrics", indexing service).

Made once a process: the numbers go on over the terms of leading, while the gauges show nothing without one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from druidroles.http.metrics import Labels, Metrics, Reading
from druidroles.metadata import TaskRow
from druidroles.model.iso import parse_iso
from druidroles.model.task import TaskState, TaskStatus

if TYPE_CHECKING:
    from druidroles.overlord.leading import Leading

Lead = Callable[[], "Leading | None"]


class Counts:
    """The metrics of one Overlord."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        self.actions = metrics.timer("task/action/run/time", "how long a task's action took")
        self._pending = metrics.timer("task/pending/time", "how long a task waited for a slot")
        self._run = metrics.timer("task/run/time", "how long a task ran")
        self._success = metrics.counter("task/success/count", "tasks that succeeded")
        self._failed = metrics.counter("task/failed/count", "tasks that failed")
        self._metrics = metrics

    def follow(self, lead: Lead) -> None:
        """Show the slots and the queue of whoever leads in this process; nothing while it does not."""
        gauge = self._metrics.gauge
        gauge("task/running/count", "tasks that run", lambda: _tasks(lead(), "running"))
        gauge("task/pending/count", "tasks that wait for a slot", lambda: _tasks(lead(), "pending"))
        gauge("task/waiting/count", "tasks that wait for a lock", lambda: _tasks(lead(), "waiting"))
        for name, about in (
            ("total", "slots there are"),
            ("used", "slots in use"),
            ("idle", "slots free for tasks"),
            ("lazy", "free slots of workers that take no new tasks"),
            ("blacklisted", "slots of workers on the blacklist"),
        ):
            gauge(f"taskSlot/{name}/count", about, lambda name=name: _slots(lead(), name))  # type: ignore[misc]

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


def _tasks(leading: Leading | None, state: str) -> Reading:
    if leading is None:
        return ()
    counted = Counter(row.data_source for row in leading.tasks.values() if leading.listed(row).state == state)
    return [({"dataSource": name}, float(count)) for name, count in counted.items()]


def _slots(leading: Leading | None, what: str) -> Reading:
    return () if leading is None else list(_slots_by_category(leading, what))


def _slots_by_category(leading: Leading, what: str) -> Iterable[tuple[Labels, float]]:
    counted: Counter[str] = Counter()
    for load in leading.worker_loads():
        barred = load.worker.host in leading.blacklist.workers
        takes = load.worker.enabled and not barred
        counted[load.worker.category] += {
            "total": load.worker.capacity,
            "used": load.used,
            "idle": max(0, load.free) if takes else 0,
            "lazy": max(0, load.free) if not load.worker.enabled else 0,
            "blacklisted": load.worker.capacity if barred else 0,
        }[what]
    return [({"category": category}, float(count)) for category, count in counted.items()]
