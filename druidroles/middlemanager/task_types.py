"""The work of a task by its type."""

from __future__ import annotations

import trio

from druidroles.middlemanager.compact_task import run_compact_task
from druidroles.middlemanager.index_task import run_index_task
from druidroles.middlemanager.kill_task import run_kill_task
from druidroles.middlemanager.parallel_task import run_parallel_task
from druidroles.middlemanager.sub_task import SUB_TASK, run_sub_task
from druidroles.middlemanager.toolbox import Toolbox
from druidroles.model.decode import ModelError, get_int
from druidroles.model.kill import KillSpec
from druidroles.model.task import task_type
from druidroles.segments.compaction import parse_compaction
from druidroles.segments.spec import parse_spec
from druidroles.segments.splits import parse_parallel

NOOP_MS = 2500  # Druid's default run time of a noop task


async def work(tools: Toolbox) -> None:
    """Do it. Raises what its type may raise, ModelError for a type that is not known here."""
    task = tools.task
    match task_type(task):
        case "noop":
            await trio.sleep(get_int(task, "runTime", NOOP_MS) / 1000)
        case "index_parallel":
            await run_parallel_task(parse_spec(task), parse_parallel(task["spec"]), tools)
        case "index":
            await run_index_task(parse_spec(task), tools)
        case "compact":
            await run_compact_task(parse_compaction(task), tools)
        case "kill":
            await run_kill_task(KillSpec.from_task(task), tools)
        case kind if kind == SUB_TASK:
            await run_sub_task(parse_spec(task), tools)
        case kind:
            raise ModelError(f"type {kind!r} is not supported")
