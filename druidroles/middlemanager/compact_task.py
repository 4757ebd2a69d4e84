"""A `compact` task: the visible rows of an interval, out of deep storage, into new segments of a newer version.

The interval is locked before its segments are asked for, so nothing comes or goes meanwhile; the new version
overshadows what was read, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import trio

from druidroles.middlemanager.pushing import push_all
from druidroles.middlemanager.toolbox import TaskFailedError, Toolbox
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.segments.build import BuildResult
from druidroles.segments.compaction import CompactionSpec
from druidroles.segments.errors import SegmentFileError
from druidroles.segments.rewrite import Piece, rewrite_segments
from druidroles.timeline.timeline import VersionedIntervalTimeline

log = logging.getLogger(__name__)


async def run_compact_task(spec: CompactionSpec, tools: Toolbox) -> list[DataSegment]:
    """Do the whole work; what was published. Raises TaskFailedError where there is nothing to compact."""
    lock = await tools.actions.acquire_lock(spec.interval)
    log.info("the lock of %s is held, version %s", lock.interval, lock.version)
    shown = visible(await tools.actions.used_segments(spec.interval), spec.interval)
    if not shown:
        raise TaskFailedError(f"there are no segments of {spec.data_source} in {spec.interval}: nothing to do")
    tools.progress.enter("BUILD_SEGMENTS")
    pieces = await _pull(shown, tools)
    try:
        built: BuildResult = await trio.to_thread.run_sync(
            partial(rewrite_segments, spec, pieces, tools.directory.work)
        )
    except SegmentFileError as fault:
        raise TaskFailedError(str(fault)) from None
    tools.progress.stats = built.stats
    segments = await push_all(built.segments, lambda one: one.segment(lock.version), tools.deep_storage)
    await tools.actions.publish(segments)
    log.info("%d segments are published in place of %d", len(segments), len({s.id for s, _ in shown}))
    return segments


def visible(segments: Iterable[DataSegment], interval: Interval) -> list[tuple[DataSegment, Interval]]:
    """The segments of which something shows within an interval, each with what shows; one may show in several parts."""
    timeline: VersionedIntervalTimeline[DataSegment] = VersionedIntervalTimeline()
    for segment in segments:
        timeline.add(segment.interval, segment.version, segment.shard_spec, segment)
    return [(chunk.value, holder.interval) for holder in timeline.lookup(interval) for chunk in holder.chunks]


async def _pull(shown: Iterable[tuple[DataSegment, Interval]], tools: Toolbox) -> list[Piece]:
    """Fetch each segment once."""
    directory = tools.directory.work / "input"
    await trio.to_thread.run_sync(partial(directory.mkdir, exist_ok=True))
    files: dict[str, Path] = {}
    pieces = []
    for segment, interval in shown:
        if segment.id not in files:
            files[segment.id] = directory / f"{len(files)}.parquet"
            await trio.to_thread.run_sync(tools.deep_storage.pull, segment, files[segment.id])
        pieces.append(Piece(segment, files[segment.id], interval))
    log.info("%d segments are fetched", len(files))
    return pieces
