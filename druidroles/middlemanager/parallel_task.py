"""An `index_parallel` task with sub-tasks: it splits its input files, has a sub-task of its own build each piece, and
publishes what they have pushed, all in one transaction (Druid documentation, "Parallel task", single phase).

Sub-tasks are tasks like any other, submitted to the Overlord, and run wherever there is a slot. They take their locks
in the name of this task, so that all segments of a time chunk have one version, and no lock goes when a sub-task ends.
What they push they number apart from each other; only here, where all of a time chunk is known, the partitions get the
numbers that make them one complete set. A failed sub-task is replaced by a new one; what it may have pushed is named by
nobody. When this task ends, however it ends, the Overlord ends what is left of its sub-tasks.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import trio

from druidroles.middlemanager.index_task import run_index_task, umbrella
from druidroles.middlemanager.overlord_client import RefusedError
from druidroles.middlemanager.report import read_sub_report
from druidroles.middlemanager.sub_task import SUB_TASK
from druidroles.middlemanager.toolbox import TaskFailedError, Toolbox
from druidroles.model.decode import ModelError, get_int, get_object, need_int
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.model.task import new_task_id, task_group_id, task_id
from druidroles.segments.build import SEGMENTS_MAX, RowStats
from druidroles.segments.inputs import LocalSource
from druidroles.segments.spec import IngestionSpec
from druidroles.segments.splits import ParallelTuning, split_files

log = logging.getLogger(__name__)

REPORT_S = 60.0  # for the worker of a sub-task that succeeded to hand over its report
_LETTERS = "abcdefghijklmnop"


async def run_parallel_task(spec: IngestionSpec, tuning: ParallelTuning, tools: Toolbox) -> list[DataSegment]:
    """Do the whole work, with sub-tasks where there is more than one piece; returns what was published."""
    pieces = await trio.to_thread.run_sync(_pieces, spec, tuning, tools)
    if tuning.sub_tasks < 2 or len(pieces) < 2:
        return await run_index_task(spec, tools)
    if await _slots(tools) < 2:
        log.info("there is no slot for sub-tasks: all %d pieces are built here", len(pieces))
        return await run_index_task(spec, tools)
    planned = umbrella(spec)
    if planned is not None:
        await tools.actions.acquire_lock(planned)
    tools.progress.enter("BUILD_SEGMENTS")
    log.info("%d pieces of input, up to %d sub-tasks at a time", len(pieces), tuning.sub_tasks)
    segments = renumbered(await _Supervision(tuning, tools).run(pieces))
    if segments:
        await tools.actions.publish(segments)
    log.info("%d segments are published", len(segments))
    return segments


async def _slots(tools: Toolbox) -> int:
    """All of the cluster's; our own is one of them."""
    try:
        answer = await tools.overlord.ask("GET", "/totalWorkerCapacity")
        return need_int(answer, "currentClusterCapacity")
    except (RefusedError, ModelError) as fault:
        raise TaskFailedError(f"/totalWorkerCapacity: {fault}") from None


def _pieces(spec: IngestionSpec, tuning: ParallelTuning, tools: Toolbox) -> list[list[Path]]:
    if tuning.sub_tasks < 2 or not isinstance(spec.input_source, LocalSource):
        return []
    files = spec.input_source.files(tools.directory.work, tools.input_dirs)
    return split_files([(path, path.stat().st_size) for path in files], tuning)


def renumbered(pushed: Iterable[DataSegment]) -> list[DataSegment]:
    """The segments with the partitions of each time chunk numbered from 0, and their number told in each.

    Raises TaskFailedError if a time chunk has two versions: then it was not locked all the while.
    """
    chunks: dict[Interval, list[DataSegment]] = {}
    for segment in pushed:
        chunks.setdefault(segment.interval, []).append(segment)
    numbered_ones = []
    for interval in sorted(chunks):
        partitions = sorted(chunks[interval], key=lambda segment: segment.partition_num)
        if len({segment.version for segment in partitions}) > 1:
            raise TaskFailedError(f"sub-tasks pushed segments of {interval} under more than one version")
        numbered_ones += [
            attrs.evolve(segment, shard_spec=numbered(number, len(partitions)))
            for number, segment in enumerate(partitions)
        ]
    return numbered_ones


class _Supervision:
    """The sub-tasks of one task."""

    def __init__(self, tuning: ParallelTuning, tools: Toolbox) -> None:
        self._tuning = tuning
        self._tools = tools
        self._submitted: list[str] = []
        self._pushed: list[DataSegment] = []

    async def run(self, pieces: Sequence[Sequence[Path]]) -> list[DataSegment]:
        """Have all pieces done; what was pushed. Raises TaskFailedError once a piece has failed too often."""
        await self._stop_predecessors()
        left = iter(enumerate(pieces))
        async with trio.open_nursery() as nursery:
            for _ in range(min(self._tuning.sub_tasks, len(pieces))):
                nursery.start_soon(self._work, left)
        return self._pushed

    async def _stop_predecessors(self) -> None:
        """End the sub-tasks of an earlier start of this task: its worker was restarted."""
        for sub_task in await trio.to_thread.run_sync(self._tools.directory.sub_tasks):
            try:
                await self._tools.overlord.ask("POST", f"/task/{quote(sub_task, safe='')}/shutdown")
            except RefusedError as refused:
                log.info("sub-task %s is not there any more: %s", sub_task, refused)

    async def _work(self, left: Iterable[tuple[int, Sequence[Path]]]) -> None:
        for number, files in left:
            segments, stats = await self._piece(number, files)
            self._pushed += segments
            self._tools.progress.stats += stats

    async def _piece(self, number: int, files: Sequence[Path]) -> tuple[list[DataSegment], RowStats]:
        why = ""
        for attempt in range(self._tuning.max_retry + 1):
            try:
                return await self._attempt(number, files, attempt)
            except TaskFailedError as fault:
                why = str(fault)
                log.warning("piece %d, attempt %d: %s", number, attempt, why)
        raise TaskFailedError(f"piece {number} failed {self._tuning.max_retry + 1} times: {why}")

    async def _attempt(self, number: int, files: Sequence[Path], attempt: int) -> tuple[list[DataSegment], RowStats]:
        sub_task = self._sub_task(number, files, attempt)
        identifier = task_id(sub_task)
        self._submitted.append(identifier)
        # Noted first: whoever comes after us must know of all that may have been submitted.
        await trio.to_thread.run_sync(partial(self._tools.directory.write_sub_tasks, self._submitted))
        await self._submit(sub_task)
        log.info("piece %d: %d files, sub-task %s", number, len(files), identifier)
        await self._wait(identifier)
        with trio.move_on_after(REPORT_S):
            try:
                return read_sub_report(await self._ask("GET", f"/task/{quote(identifier, safe='')}/reports"))
            except ModelError as fault:
                raise TaskFailedError(f"the report of sub-task {identifier} is malformed: {fault}") from None
        raise TaskFailedError(f"the report of sub-task {identifier} cannot be had")

    async def _submit(self, sub_task: Mapping[str, Any]) -> None:
        try:
            await self._tools.overlord.ask("POST", "/task", sub_task)
        except RefusedError as refused:
            if refused.error != "Task already exists":  # the answer to the first time was lost
                raise TaskFailedError(f"a sub-task is refused: {refused}") from None

    async def _wait(self, identifier: str) -> None:
        """Until it has succeeded; TaskFailedError if it has not."""
        while True:
            answer = await self._ask("GET", f"/task/{quote(identifier, safe='')}/status")
            status = (get_object(answer, "status") or {}) if isinstance(answer, Mapping) else {}
            match status.get("statusCode"):
                case "SUCCESS":
                    return
                case "FAILED":
                    raise TaskFailedError(f"sub-task {identifier} failed: {status.get('errorMsg')}")
            await trio.sleep(self._tuning.check_period_ms / 1000)

    async def _ask(self, method: str, path: str) -> Any:
        try:
            return await self._tools.overlord.ask(method, path)
        except RefusedError as refused:
            raise TaskFailedError(f"{path}: {refused}") from None

    def _sub_task(self, number: int, files: Sequence[Path], attempt: int) -> dict[str, Any]:
        task = self._tools.task
        own, data_source = task_id(task), task["dataSource"]
        spec = task["spec"]
        source = {"type": "local", "files": [str(path) for path in files]}
        letters = "".join(random.choices(_LETTERS, k=8))
        identifier = new_task_id(SUB_TASK, data_source, letters, time.time_ns() // 1_000_000)
        sub_task = {
            "type": SUB_TASK,
            "id": identifier,
            "groupId": task_group_id(task),
            "dataSource": data_source,
            "supervisorTaskId": own,
            "supervisorAttempt": get_int(get_object(task, "coord") or {}, "attempt", 0),
            "subtaskSpecId": f"{own}_{number}",
            "numAttempts": attempt,
            "partitionBase": (number * (self._tuning.max_retry + 1) + attempt) * SEGMENTS_MAX,
            "spec": {**spec, "ioConfig": {**spec["ioConfig"], "inputSource": source}},
        }
        if task.get("context") is not None:
            sub_task["context"] = task["context"]
        return sub_task
