"""A `kill` task: deletes the unused segments of an interval for good (Druid documentation, "Data deletion").

Rows go first and files after: what the metadata store names is always in deep storage. A task that ends in between
leaves files that nothing names.
"""

from __future__ import annotations

import logging

import trio

from druidroles.middlemanager.toolbox import Toolbox
from druidroles.model.interval import Interval

log = logging.getLogger(__name__)

BATCH = 100  # Druid's batchSize


async def run_kill_task(interval: Interval, tools: Toolbox) -> int:
    """Do the whole work; how many segments are gone. Raises ActionFailedError, DeepStorageError."""
    await tools.actions.acquire_lock(interval)
    unused = await tools.actions.unused_segments(interval)
    log.info("%d unused segments in %s", len(unused), interval)
    killed = 0
    for start in range(0, len(unused), BATCH):
        batch = unused[start : start + BATCH]
        gone = await tools.actions.forget_segments(batch)
        for segment in batch:
            if segment.id in gone:
                await trio.to_thread.run_sync(tools.deep_storage.kill, segment)
                killed += 1
            else:
                log.info("segment %s is in use again and stays", segment)
    log.info("%d segments are deleted", killed)
    return killed
