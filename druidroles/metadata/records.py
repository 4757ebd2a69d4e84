"""The rows of the metadata store as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from druidroles.model.segment import DataSegment


@attrs.frozen(kw_only=True)
class LeaderEpoch:
    """Who writes: a leading role ("coordinator", "overlord") and its epoch, the czxid of the leader's latch znode."""

    role: str
    epoch: int


@attrs.frozen(kw_only=True)
class TaskRow:
    """A row of `druid_tasks` with its newest attempt.

    `created_date` is ISO in UTC; `payload` the task and `status` its status as JSON objects. `attempt` counts the
    assignments of the task to a worker (0: never assigned), `worker` is the host:port of the last. That the task has
    published stands in the status, under the key "coord", which Druid ignores.
    """

    id: str
    data_source: str
    type: str
    group_id: str
    created_date: str
    payload: Mapping[str, Any]
    status: Mapping[str, Any]
    active: bool = True
    attempt: int = 0
    worker: str | None = None

    @property
    def published(self) -> bool:
        """Whether segments of the task were published."""
        ours = self.status.get("coord")
        return isinstance(ours, Mapping) and ours.get("published") is True


@attrs.frozen(kw_only=True)
class StoredLock:
    """A row of `druid_tasklocks`: `lock` is Druid's TaskLock as a JSON object."""

    row_id: int
    task_id: str
    lock: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Publication:
    """What an attempt of a task asks to be published, all or nothing."""

    task_id: str
    attempt: int
    segments: Sequence[DataSegment]


@attrs.frozen(kw_only=True)
class StoredRules:
    """The newest rules of each datasource (and of `_default`) as Druid's JSON; `faults` of those that cannot be read.

    A datasource is in one of them at most.
    """

    rules: Mapping[str, list[dict[str, Any]]] = attrs.field(factory=dict)
    faults: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Audit:
    """Who changes rules or configuration, and why (headers X-Druid-Author and X-Druid-Comment)."""

    author: str = ""
    comment: str = ""


@attrs.frozen(kw_only=True)
class AuditEntry:
    """A row of `druid_audit`: `key` is the datasource or configuration name, `type` "rules" or "config"."""

    key: str
    type: str
    author: str
    comment: str
    created_date: str
    payload: Any
