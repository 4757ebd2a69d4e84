"""A sub-task of a parallel ingestion (`single_phase_sub_task`): builds and pushes its piece, and publishes nothing.

Its segments are in its report, from where the supervisor takes them. Locks are the supervisor's, one for each time
chunk, asked for by whichever sub-task meets the chunk first; where the spec names its intervals the supervisor has them
already.
"""

from __future__ import annotations

import logging

import attrs

from druidroles.middlemanager.pushing import push_all
from druidroles.middlemanager.toolbox import Toolbox
from druidroles.model.decode import get_int, get_object, need_str
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.segments.build import BuildResult, BuiltSegment
from druidroles.segments.spec import IngestionSpec

log = logging.getLogger(__name__)

SUB_TASK = "single_phase_sub_task"
LOCK_TIMEOUT_MS = 300_000  # Druid's taskLockTimeout: two that wait for each other's time chunks do not wait for ever


async def run_sub_task(spec: IngestionSpec, tools: Toolbox) -> list[DataSegment]:
    """Do the work; what was pushed. Raises IngestionError, DeepStorageError, ActionFailedError."""
    task = tools.task
    supervisor = {
        "id": need_str(task, "supervisorTaskId"),
        "coord": {"attempt": get_int(task, "supervisorAttempt", 0)},
    }
    base = get_int(task, "partitionBase", 0)
    timeout_s = get_int(get_object(task, "context") or {}, "taskLockTimeout", LOCK_TIMEOUT_MS) / 1000
    tools.progress.enter("BUILD_SEGMENTS")
    built: BuildResult = await tools.build(spec)
    tools.progress.stats = built.stats
    actions = tools.actions_of(supervisor)
    versions = {}
    for interval in sorted({one.interval for one in built.segments}):
        versions[interval] = (await actions.acquire_lock(interval, timeout_s)).version

    def describe(one: BuiltSegment) -> DataSegment:
        # A number that no other sub-task, nor an earlier attempt at this piece, writes to.
        described = one.segment(versions[one.interval])
        return attrs.evolve(described, shard_spec=numbered(base + one.partition_num, 0))

    tools.progress.pushed = await push_all(built.segments, describe, tools.deep_storage)
    return tools.progress.pushed
