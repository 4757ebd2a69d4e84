"""Tasks: their status, the announcement a worker makes of them, their locks, and what is read from their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

from druidroles.model.decode import ModelError, as_object, get_bool, get_int, get_object, need_str, opt_str
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.names import check_name

_ERROR_CHARS = 100


class TaskState(Enum):
    """Where a task is in its life, as Druid spells it (TaskState)."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"

    @property
    def is_complete(self) -> bool:
        """Whether it will not change any more."""
        return self is not TaskState.RUNNING


def _state(obj: Mapping[str, Any], key: str) -> TaskState:
    text = need_str(obj, key)
    try:
        return TaskState(text)
    except ValueError:
        raise ModelError(f"{key} {text!r} is not a task state") from None


@attrs.frozen
class TaskLocation:
    """Where a task's process answers; host None and ports -1 while unknown."""

    host: str | None = None
    port: int = -1
    tls_port: int = -1

    @classmethod
    def from_json(cls, value: Any) -> TaskLocation:
        """Read one; null is the unknown location. Raises ModelError naming the field at fault."""
        if value is None:
            return UNKNOWN_LOCATION
        obj = as_object(value, "location")
        return cls(opt_str(obj, "host"), get_int(obj, "port", -1), get_int(obj, "tlsPort", -1))

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {"host": self.host, "port": self.port, "tlsPort": self.tls_port}


UNKNOWN_LOCATION = TaskLocation()


@attrs.frozen
class TaskStatus:
    """The state of a task. `duration_ms` is -1 while it runs; `error_msg` is cut at 100 characters, as in Druid."""

    id: str
    state: TaskState
    duration_ms: int = -1
    error_msg: str | None = attrs.field(default=None)
    location: TaskLocation = UNKNOWN_LOCATION

    @classmethod
    def running(cls, task: str, location: TaskLocation = UNKNOWN_LOCATION) -> TaskStatus:
        """The status of a task that runs."""
        return cls(task, TaskState.RUNNING, location=location)

    @classmethod
    def success(cls, task: str, duration_ms: int, location: TaskLocation = UNKNOWN_LOCATION) -> TaskStatus:
        """The status of a task that did its work."""
        return cls(task, TaskState.SUCCESS, duration_ms, None, location)

    @classmethod
    def failure(
        cls, task: str, error_msg: str, duration_ms: int = -1, location: TaskLocation = UNKNOWN_LOCATION
    ) -> TaskStatus:
        """The status of a task that failed, with why."""
        cut = error_msg if len(error_msg) <= _ERROR_CHARS else error_msg[:_ERROR_CHARS] + "..."
        return cls(task, TaskState.FAILED, duration_ms, cut, location)

    @property
    def is_complete(self) -> bool:
        """Whether it will not change any more."""
        return self.state.is_complete

    @classmethod
    def from_json(cls, value: Any) -> TaskStatus:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "task status")
        return cls(
            need_str(obj, "id"),
            _state(obj, "status"),
            get_int(obj, "duration", -1),
            opt_str(obj, "errorMsg"),
            TaskLocation.from_json(obj.get("location")),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {
            "id": self.id,
            "status": self.state.value,
            "duration": self.duration_ms,
            "errorMsg": self.error_msg,
            "location": self.location.to_json(),
        }


@attrs.frozen
class TaskAnnouncement:
    """What a MiddleManager writes below indexer/status of a task it has (Druid's TaskAnnouncement)."""

    status: TaskStatus
    type: str
    data_source: str
    availability_group: str
    required_capacity: int = 1

    @property
    def id(self) -> str:
        """The task's id."""
        return self.status.id

    @classmethod
    def of(cls, task: Mapping[str, Any], status: TaskStatus) -> TaskAnnouncement:
        """The announcement of a task, from its JSON and its status."""
        resource = get_object(task, "resource") or {}
        group = opt_str(resource, "availabilityGroup") or task_id(task)
        required = get_int(resource, "requiredCapacity", 1)
        return cls(status, task_type(task), task_data_source(task), group, required)

    def with_status(self, status: TaskStatus) -> TaskAnnouncement:
        """The same announcement with a newer status."""
        return attrs.evolve(self, status=status)

    @classmethod
    def from_json(cls, value: Any) -> TaskAnnouncement:
        """Read one; where there is no taskStatus (old writers) it is made of the outer fields. Raises ModelError."""
        obj = as_object(value, "task announcement")
        task = need_str(obj, "id")
        location = TaskLocation.from_json(obj.get("taskLocation"))
        inner = obj.get("taskStatus")
        status = TaskStatus(task, _state(obj, "status")) if inner is None else TaskStatus.from_json(inner)
        if status.id != task:
            raise ModelError(f"taskStatus is of {status.id!r}, not of {task!r}")
        if location != UNKNOWN_LOCATION:
            status = attrs.evolve(status, location=location)
        resource = get_object(obj, "taskResource") or {}
        return cls(
            status,
            opt_str(obj, "type") or "",
            opt_str(obj, "taskDataSource") or "",
            opt_str(resource, "availabilityGroup") or task,
            get_int(resource, "requiredCapacity", 1),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {
            "id": self.id,
            "type": self.type,
            "status": self.status.state.value,
            "taskStatus": self.status.to_json(),
            "taskResource": {
                "availabilityGroup": self.availability_group,
                "requiredCapacity": self.required_capacity,
            },
            "taskLocation": self.status.location.to_json(),
            "taskDataSource": self.data_source,
        }


@attrs.frozen
class TaskLock:
    """A time-chunk lock (Druid's TimeChunkLock)."""

    group_id: str
    data_source: str
    interval: Interval
    version: str
    lock_type: str = "EXCLUSIVE"
    priority: int = 50
    revoked: bool = False

    @classmethod
    def from_json(cls, value: Any) -> TaskLock:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "task lock")
        return cls(
            need_str(obj, "groupId"),
            need_str(obj, "dataSource"),
            Interval.parse(need_str(obj, "interval")),
            need_str(obj, "version"),
            opt_str(obj, "lockType") or "EXCLUSIVE",
            get_int(obj, "priority", 0),
            get_bool(obj, "revoked", False),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {
            "type": "timeChunk",
            "lockType": self.lock_type,
            "groupId": self.group_id,
            "dataSource": self.data_source,
            "interval": str(self.interval),
            "version": self.version,
            "priority": self.priority,
            "revoked": self.revoked,
        }


def task_id(task: Mapping[str, Any]) -> str:
    """The id in a task's JSON; raises ModelError where it is none or cannot be a name."""
    return check_name(need_str(task, "id"), "id")


def task_type(task: Mapping[str, Any]) -> str:
    """The type in a task's JSON; raises ModelError where there is none."""
    return need_str(task, "type")


def task_group_id(task: Mapping[str, Any]) -> str:
    """The group in a task's JSON, by default the task itself."""
    return opt_str(task, "groupId") or task_id(task)


def task_data_source(task: Mapping[str, Any]) -> str:
    """The data source in a task's JSON: its own key, or that of the spec's data schema; raises ModelError where none
    is.
    """
    own = opt_str(task, "dataSource")
    if own:
        return own
    spec = get_object(task, "spec") or {}
    return need_str(get_object(spec, "dataSchema") or {}, "dataSource")


def task_priority(task: Mapping[str, Any], default: int) -> int:
    """The priority in a task's context; `default` is that of its type."""
    return get_int(get_object(task, "context") or {}, "priority", default)


def new_task_id(kind: str, data_source: str, letters: str, now_ms: int) -> str:
    """An id as Druid makes it: type, data source, eight random letters (the caller's), and the time."""
    return f"{kind}_{data_source}_{letters}_{format_iso(now_ms)}"
