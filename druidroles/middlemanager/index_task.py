"""An ingestion in one process: lock, build, push, publish (Druid documentation, "JSON-based batch").

One exclusive lock covers all time chunks of the task, so that all its segments have one version, newer than everything
there: they overshadow what was ingested before. Where the spec names its intervals the lock is taken before anything is
read; otherwise the data tells which intervals there are. Segments are pushed before they are published: deep storage
has whatever the metadata store names.
"""

from __future__ import annotations

import logging

from druidroles.middlemanager.pushing import push_all
from druidroles.middlemanager.toolbox import Toolbox
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.segments.build import BuildResult
from druidroles.segments.spec import IngestionSpec

log = logging.getLogger(__name__)


def umbrella(spec: IngestionSpec, built: BuildResult | None = None) -> Interval | None:
    """The one interval that covers all time chunks: of the data that was built, else of the spec's intervals."""
    if built is not None:
        chunks = [segment.interval for segment in built.segments]
    else:
        chunks = [_chunks(spec, interval) for interval in spec.intervals if not interval.is_empty]
    if not chunks:
        return None
    return Interval(min(chunk.start_ms for chunk in chunks), max(chunk.end_ms for chunk in chunks))


def _chunks(spec: IngestionSpec, interval: Interval) -> Interval:
    """The interval, widened to whole time chunks."""
    granularity = spec.segment_granularity
    if granularity.is_all:
        return interval
    return Interval(granularity.bucket(interval.start_ms).start_ms, granularity.bucket(interval.end_ms - 1).end_ms)


async def run_index_task(spec: IngestionSpec, tools: Toolbox) -> list[DataSegment]:
    """Do the whole work; returns what was published, nothing where no row lies in the intervals.

    Raises IngestionError, DeepStorageError, ActionFailedError.
    """
    planned = umbrella(spec)
    lock = None if planned is None else await tools.actions.acquire_lock(planned)
    tools.progress.enter("BUILD_SEGMENTS")
    log.info("reading the input of %s", spec.data_source)
    built: BuildResult = await tools.build(spec)
    tools.progress.stats = built.stats
    log.info("%d segments of %d rows are built", len(built.segments), sum(segment.rows for segment in built.segments))
    found = umbrella(spec, built)
    if found is None:
        return []
    if lock is None:
        lock = await tools.actions.acquire_lock(found)
    log.info("the lock of %s is held, version %s", lock.interval, lock.version)
    version = lock.version
    segments = await push_all(built.segments, lambda one: one.segment(version), tools.deep_storage)
    await tools.actions.publish(segments)
    log.info("%d segments are published", len(segments))
    return segments
