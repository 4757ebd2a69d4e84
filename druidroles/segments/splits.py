"""Splitting the input of a parallel ingestion, one piece a sub-task (Druid documentation, "Split hint spec")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from druidroles.model.decode import ModelError, get_int, get_object, opt_str
from druidroles.segments.errors import SpecError
from druidroles.segments.spec import within

SUB_TASKS_MAX = 1_000
_SPLIT_BYTES = 1 << 30
_SPLIT_FILES = 1_000
_CHECK_MS = 1_000


@attrs.frozen(kw_only=True)
class ParallelTuning:
    """What `tuningConfig` says of sub-tasks. `sub_tasks` 1: the work is done in the task itself, as in Druid."""

    sub_tasks: int = 1
    max_retry: int = 3
    check_period_ms: int = _CHECK_MS
    split_bytes: int = _SPLIT_BYTES
    split_files: int = _SPLIT_FILES


def parse_parallel(spec: Mapping[str, Any]) -> ParallelTuning:
    """Read it from the spec of a task; raises SpecError naming the field at fault."""
    with within("spec"):
        tuning = get_object(spec, "tuningConfig") or {}
    with within("tuningConfig"):
        hint = get_object(tuning, "splitHintSpec") or {}
        parsed = ParallelTuning(
            sub_tasks=_at_least(tuning, "maxNumConcurrentSubTasks", 1, 1),
            max_retry=_at_least(tuning, "maxRetry", 3, 0),
            check_period_ms=_at_least(tuning, "taskStatusCheckPeriodMs", _CHECK_MS, 1),
        )
    if parsed.sub_tasks > SUB_TASKS_MAX:
        raise SpecError(f"tuningConfig: maxNumConcurrentSubTasks is over the limit of {SUB_TASKS_MAX}")
    with within("tuningConfig.splitHintSpec"):
        kind = opt_str(hint, "type") or "maxSize"
        if kind != "maxSize":
            raise ModelError(f"type {kind!r} is not supported; there is maxSize")
        return attrs.evolve(
            parsed,
            split_bytes=_at_least(hint, "maxSplitSize", _SPLIT_BYTES, 1),
            split_files=_at_least(hint, "maxNumFiles", _SPLIT_FILES, 1),
        )


def _at_least(obj: Mapping[str, Any], key: str, default: int, least: int) -> int:
    value = get_int(obj, key, default)
    if value < least:
        raise ModelError(f"{key} must be at least {least}, not {value}")
    return value


def split_files(files: Iterable[tuple[Path, int]], tuning: ParallelTuning) -> list[list[Path]]:
    """The files, with their sizes, in pieces: as many in each as fit into its size and number, in their order."""
    pieces: list[list[Path]] = []
    room = 0
    for path, size in files:
        if not pieces or size > room or len(pieces[-1]) >= tuning.split_files:
            pieces.append([])
            room = tuning.split_bytes
        pieces[-1].append(path)
        room -= size
    return pieces
