"""Tasks and workers as the Overlord's HTTP API shows them (Druid's TaskStatusPlus, ImmutableWorkerInfo). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from druidroles.metadata import TaskRow
from druidroles.model.decode import ModelError, whole_number
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso, parse_iso
from druidroles.model.task import UNKNOWN_LOCATION, TaskState, TaskStatus
from druidroles.overlord.planning.select import WorkerLoad

# Druid has not filled this field for years, but its clients expect a time.
_NEVER = format_iso(0)

STATES = ("pending", "waiting", "running", "complete")


@attrs.frozen
class Listed:
    """A task and what its worker says of it: None while it is pending, and where it has ended.

    `waits`: it has asked for a lock and does not have it. Tasks ask while they run, so it takes its slot meanwhile.
    """

    row: TaskRow
    said: TaskStatus | None = None
    waits: bool = False

    @property
    def state(self) -> str:
        """One of STATES."""
        if not self.row.active:
            return "complete"
        if self.said is None:
            return "pending"
        return "waiting" if self.waits else "running"

    @property
    def status(self) -> TaskStatus:
        """The status as it is recorded; of an active task the location that its worker says."""
        if self.row.active:
            return TaskStatus.running(self.row.id, UNKNOWN_LOCATION if self.said is None else self.said.location)
        try:
            return TaskStatus.from_json(self.row.status)
        except ModelError as fault:
            return TaskStatus.failure(self.row.id, f"the stored status is malformed: {fault}")

    def to_json(self, ended_code: str = "NONE") -> dict[str, Any]:
        """The flat object. `ended_code` is the runnerStatusCode of an ended task: Druid's answers differ in it."""
        status, row = self.status, self.row
        return {
            "id": row.id,
            "groupId": row.group_id,
            "type": row.type,
            "createdTime": row.created_date,
            "queueInsertionTime": _NEVER,
            "statusCode": status.state.value,
            "status": status.state.value,
            "runnerStatusCode": ended_code if self.state == "complete" else self.state.upper(),
            "duration": status.duration_ms if status.state is not TaskState.RUNNING else -1,
            "location": status.location.to_json(),
            "dataSource": row.data_source,
            "errorMsg": status.error_msg,
        }


@attrs.frozen(kw_only=True)
class TaskFilter:
    """What of the tasks is wanted (the query parameters of `/tasks`); None: all."""

    state: str | None = None
    data_source: str | None = None
    kind: str | None = None
    created: Interval | None = None
    most: int | None = None

    @classmethod
    def parse(cls, parameter: Callable[[str], str | None]) -> TaskFilter:
        """Read the parameters; raises ModelError naming the one at fault."""
        state, created, most = parameter("state"), parameter("createdTimeInterval"), parameter("max")
        state = None if state is None else state.lower()
        if state is not None and state not in STATES:
            raise ModelError(f"state {state!r} is not one of {', '.join(STATES)}")
        count = None if most is None else whole_number(most)
        if most is not None and (count is None or count < 0):
            raise ModelError(f"max {most[:40]!r} is not a number")
        return cls(
            state=state,
            data_source=parameter("datasource"),
            kind=parameter("type"),
            created=None if created is None else _created(created),
            most=count,
        )

    @property
    def takes_all_ended(self) -> bool:
        """Whether of the ended tasks none is left out."""
        return self.data_source is None and self.kind is None and self.created is None

    def takes(self, task: Listed) -> bool:
        """Whether it is wanted. As in Druid, the time of creation is asked of tasks that have ended only."""
        return (
            self.state in (None, task.state)
            and self.data_source in (None, task.row.data_source)
            and self.kind in (None, task.row.type)
            and (self.created is None or task.row.active or self.created.contains_ms(parse_iso(task.row.created_date)))
        )


def worker_json(
    load: WorkerLoad, running: Iterable[str], last_completed_ms: int, barred_until_ms: int | None = None
) -> dict[str, Any]:
    """A worker with what it has to do."""
    return {
        "worker": load.worker.to_json(),
        "currCapacityUsed": load.used,
        "currParallelIndexCapacityUsed": load.parallel,
        "availabilityGroups": sorted(load.groups),
        "runningTasks": sorted(running),
        "lastCompletedTaskTime": format_iso(last_completed_ms),
        **({} if barred_until_ms is None else {"blacklistedUntil": format_iso(barred_until_ms)}),
    }


def _created(text: str) -> Interval:
    try:
        return Interval.parse(text.replace("_", "/"))  # in URLs Druid writes an underscore for the slash
    except ModelError as fault:
        raise ModelError(f"createdTimeInterval: {fault}") from None
