"""What a `kill` task is to delete (Druid documentation, "Data deletion")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from druidroles.model.decode import ModelError, get_bool, get_int, need_str, opt_str
from druidroles.model.interval import Interval
from druidroles.model.iso import parse_iso

BATCH_SIZE = 100  # Druid's


@attrs.frozen(kw_only=True)
class KillSpec:
    """The unused segments within `interval`: of these `versions` or of all, and unused since an instant or at all.

    At most `limit` of them, in transactions of `batch_size`.
    """

    interval: Interval
    versions: tuple[str, ...] | None = None
    unused_since_ms: int | None = None
    limit: int | None = None
    batch_size: int = BATCH_SIZE

    @classmethod
    def from_task(cls, task: Mapping[str, Any]) -> KillSpec:
        """Read a task's JSON; raises ModelError naming the field at fault."""
        interval = Interval.parse(need_str(task, "interval"))
        if interval.is_empty:
            raise ModelError(f"interval {task['interval']} is empty")
        if get_bool(task, "markAsUnused", False):
            raise ModelError("markAsUnused is not supported: mark segments unused first")
        return cls(
            interval=interval,
            versions=read_versions(task),
            unused_since_ms=read_unused_since(task),
            limit=_positive(task, "limit", 0) or None,
            batch_size=_positive(task, "batchSize", BATCH_SIZE),
        )


def read_versions(obj: Mapping[str, Any]) -> tuple[str, ...] | None:
    """`versions`, None where they do not matter. An empty list is none at all, so nothing."""
    value = obj.get("versions")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(version, str) for version in value):
        raise ModelError("versions is not a list of versions")
    return tuple(value)


def read_unused_since(obj: Mapping[str, Any]) -> int | None:
    """`maxUsedStatusLastUpdatedTime` in milliseconds."""
    text = opt_str(obj, "maxUsedStatusLastUpdatedTime")
    try:
        return None if text is None else parse_iso(text)
    except ModelError as fault:
        raise ModelError(f"maxUsedStatusLastUpdatedTime: {fault}") from None


def _positive(task: Mapping[str, Any], key: str, default: int) -> int:
    value = get_int(task, key, default)
    if task.get(key) is not None and value < 1:
        raise ModelError(f"{key} {value} is below 1")
    return value
