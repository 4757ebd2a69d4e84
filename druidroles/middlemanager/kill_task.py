"""A `kill` task: deletes the unused segments of an interval for good (Druid documentation, "Data deletion").

Rows go first and files after: what the metadata store names is always in deep storage. A task that ends in between
leaves files that nothing names.
"""

from __future__ import annotations

import logging

import trio

from druidroles.middlemanager.toolbox import Toolbox
from druidroles.model.kill import KillSpec

log = logging.getLogger(__name__)


async def run_kill_task(spec: KillSpec, tools: Toolbox) -> int:
    """Do the whole work; how many segments are gone. Raises ActionFailedError, DeepStorageError."""
    await tools.actions.acquire_lock(spec.interval)
    unused = await tools.actions.unused_segments(spec)
    log.info("%d unused segments in %s", len(unused), spec.interval)
    killed = 0
    for start in range(0, len(unused), spec.batch_size):
        batch = unused[start : start + spec.batch_size]
        gone = await tools.actions.forget_segments(batch)
        for segment in batch:
            if segment.id in gone:
                await trio.to_thread.run_sync(tools.deep_storage.kill, segment)
                killed += 1
            else:
                log.info("segment %s is in use again and stays", segment)
    log.info("%d segments are deleted", killed)
    return killed
