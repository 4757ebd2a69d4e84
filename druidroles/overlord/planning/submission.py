"""A task as a user posts it, made into the task that is stored: checked, named, with Druid's defaults. Pure.

Raises ModelError or IngestionError naming the field at fault, so that a malformed task is refused whole before anything
is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from druidroles.metadata import TaskRow
from druidroles.model.decode import ModelError, get_int, get_object, need_str, only_keys, opt_str
from druidroles.model.iso import format_iso
from druidroles.model.kill import KillSpec
from druidroles.model.names import check_name
from druidroles.model.task import (
    TaskStatus,
    new_task_id,
    task_data_source,
    task_group_id,
    task_id,
    task_priority,
    task_type,
)
from druidroles.overlord.planning.select import INDEX_PARALLEL, SUB_TASK
from druidroles.overlord.planning.values import QueuedTask
from druidroles.segments.compaction import parse_compaction
from druidroles.segments.errors import IngestionError
from druidroles.segments.spec import parse_spec
from druidroles.segments.splits import parse_parallel

INDEX = "index"
COMPACT = "compact"
KILL = "kill"
NOOP = "noop"
_INGESTIONS = (INDEX_PARALLEL, INDEX, SUB_TASK)
SUB_TASK_TYPES = (SUB_TASK,)
TASK_TYPES = (*_INGESTIONS, COMPACT, KILL, NOOP)

_COMMON_KEYS = ("type", "id", "groupId", "dataSource", "resource", "context", "coord")
# What a task of each type may hold: what is read here or by the task's process, what is refused by its own name, and
# what Druid writes into tasks of its own (`forceTimeChunkLock` and so on stand in the context, which is free).
TASK_KEYS: Mapping[str, frozenset[str]] = {
    kind: frozenset((*_COMMON_KEYS, *more))
    for kind, more in {
        INDEX_PARALLEL: ("spec",),
        INDEX: ("spec",),
        SUB_TASK: (
            "spec",
            "supervisorTaskId",
            "supervisorAttempt",
            "subtaskSpecId",
            "numAttempts",
            "partitionBase",
        ),
        COMPACT: (
            "interval",
            "segments",
            "ioConfig",
            "dimensionsSpec",
            "transformSpec",
            "metricsSpec",
            "granularitySpec",
            "segmentGranularity",
            "projections",
            "tuningConfig",
            "metadata",
        ),
        KILL: ("interval", "versions", "markAsUnused", "batchSize", "limit", "maxUsedStatusLastUpdatedTime"),
        NOOP: ("runTime", "startTime", "endTime", "isReadyTime", "isReadyResult"),
    }.items()
}

# Druid's Tasks: batch ingestion 50, merging 25, what is not listed 0; `priority` in the context wins.
_PRIORITIES = {INDEX_PARALLEL: 50, INDEX: 50, SUB_TASK: 50, COMPACT: 25}
# A task's id is the name of a znode and of a directory; file names end at 255 bytes.
_ID_BYTES_MAX = 240
# Druid's maxZnodeBytes: an assignment is one znode.
TASK_BYTES_MAX = 512 * 1024


def complete_task(posted: Mapping[str, Any], letters: str, now_ms: int) -> dict[str, Any]:
    """The posted task with id and groupId filled in. `letters` are eight random ones for the id, if it needs one."""
    kind = task_type(posted)
    if kind not in TASK_TYPES:
        raise ModelError(f"type {kind!r} is not supported (supported: {', '.join(TASK_TYPES)})")
    only_keys(posted, TASK_KEYS[kind], f"the {kind} task")
    data_source = _data_source(posted, kind)
    task = dict(posted)
    task.pop("coord", None)
    if opt_str(posted, "id") is None:
        task["id"] = new_task_id(kind, data_source, letters, now_ms)
    identifier = task_id(task)
    if len(identifier.encode()) > _ID_BYTES_MAX:
        raise ModelError(f"id is longer than {_ID_BYTES_MAX} bytes")
    task["groupId"] = check_name(task_group_id(task), "groupId")
    task.setdefault("dataSource", data_source)
    _check_resource(task)
    task_priority(task, 0)
    _check_work(task, kind)
    return task


def _check_work(task: Mapping[str, Any], kind: str) -> None:
    """See that the task's process will understand what it is to do."""
    if kind in _INGESTIONS:
        if parse_spec(task).append:
            raise ModelError("spec.ioConfig.appendToExisting is not supported")
        parse_parallel(task["spec"])
    if kind == SUB_TASK:
        check_name(need_str(task, "supervisorTaskId"), "supervisorTaskId")
    elif kind == COMPACT:
        parse_compaction(task)
    elif kind == KILL:
        KillSpec.from_task(task)


def _data_source(posted: Mapping[str, Any], kind: str) -> str:
    if kind == NOOP:
        get_int(posted, "runTime", 0)
        return check_name(opt_str(posted, "dataSource") or "none", "dataSource")
    if kind in (COMPACT, KILL):
        return check_name(need_str(posted, "dataSource"), "dataSource")
    spec = get_object(posted, "spec")
    if spec is None:
        raise ModelError("spec is missing")
    schema = get_object(spec, "dataSchema")
    if schema is None:
        raise ModelError("spec.dataSchema is missing")
    name = check_name(need_str(schema, "dataSource"), "spec.dataSchema.dataSource")
    own = opt_str(posted, "dataSource")
    if own not in (None, name):
        raise ModelError(f"dataSource {own!r} is not that of spec.dataSchema, {name!r}")
    return name


def _check_resource(task: Mapping[str, Any]) -> None:
    resource = get_object(task, "resource") or {}
    only_keys(resource, ("availabilityGroup", "requiredCapacity"), "resource")
    opt_str(resource, "availabilityGroup")
    if get_int(resource, "requiredCapacity", 1) < 1:
        raise ModelError("resource.requiredCapacity is below 1")


def new_row(task: Mapping[str, Any], now_ms: int) -> TaskRow:
    """The row that is stored for a complete task."""
    return TaskRow(
        id=task_id(task),
        data_source=task_data_source(task),
        type=task_type(task),
        group_id=task_group_id(task),
        created_date=format_iso(now_ms),
        payload=task,
        status=TaskStatus.running(task_id(task)).to_json(),
    )


def queued(row: TaskRow) -> QueuedTask:
    """A stored task as the planner needs it. Raises ModelError naming what cannot be used."""
    check_name(row.id, "id")
    check_name(row.data_source, "dataSource")
    if row.worker is not None:
        check_name(row.worker, "worker")
    resource = get_object(row.payload, "resource") or {}
    return QueuedTask(
        id=row.id,
        availability_group=opt_str(resource, "availabilityGroup") or row.id,
        required_capacity=get_int(resource, "requiredCapacity", 1),
        attempt=row.attempt,
        worker=row.worker,
        type=row.type,
        data_source=row.data_source,
        supervisor=opt_str(row.payload, "supervisorTaskId") if row.type in SUB_TASK_TYPES else None,
        sub_tasks=row.type == INDEX_PARALLEL and _has_sub_tasks(row.payload),
    )


def _has_sub_tasks(task: Mapping[str, Any]) -> bool:
    """Of a stored task, which may be another Druid's: what is not understood fails when it is run."""
    try:
        return parse_parallel(get_object(task, "spec") or {}).sub_tasks > 1
    except (ModelError, IngestionError):
        return False


def lock_priority(task: Mapping[str, Any]) -> int:
    """The priority of a task's locks."""
    return task_priority(task, _PRIORITIES.get(task_type(task), 0))
