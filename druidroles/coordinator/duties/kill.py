"""Deleting for good what has long been unused (Druid's KillUnusedSegments): off unless asked for.

For each datasource the oldest unused segments are found whose interval ended long ago and that have been unused for a
while; a kill task for the time they span is submitted to the Overlord, which locks it and deletes rows, then files. One
datasource has one such task at a time, and all together use only a part of the task slots.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import trio

from druidroles.coordinator.duties.overlord_client import KillTaskClient, OverlordError
from druidroles.coordinator.dynamic_config import DynamicConfig
from druidroles.metadata import MetadataError, MetadataStore, StaleEpochError
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY

log = logging.getLogger(__name__)

LOOKED_AT = 100_000  # unused segments of one datasource
_FOREVER_MS = 253_402_300_799_999  # the end of the year 9999


@attrs.frozen(kw_only=True)
class KillConfig:
    """`druid.coordinator.kill.*`."""

    on: bool = False
    period_s: float = 1_800.0
    duration_to_retain_ms: int = 90 * MS_PER_DAY  # what ended later is kept, however long it has been unused
    ignore_duration_to_retain: bool = False
    buffer_period_ms: int = 30 * MS_PER_DAY  # for which a segment has been unused
    max_segments: int = 100  # of one task
    max_interval_ms: int = 30 * MS_PER_DAY  # of one task, unless one segment is longer


def span_of(due: Sequence[Interval], kept: Sequence[Interval], longest_ms: int) -> Interval | None:
    """The time from the first interval that is due, as far as one task may go: over none that is to be kept.

    A kill task deletes every unused segment that lies within its interval. `due` are in order.
    """
    span: Interval | None = None
    for interval in due:
        wider = interval
        if span is not None:
            wider = Interval(min(span.start_ms, interval.start_ms), max(span.end_ms, interval.end_ms))
            if wider.duration_ms > longest_ms:
                continue
        if not any(wider.contains(other) for other in kept):
            span = wider
    return span


class KillUnused:
    """The duty of one term."""

    def __init__(
        self,
        store: MetadataStore,
        overlord: KillTaskClient,
        dynamic: Callable[[], DynamicConfig],
        config: KillConfig,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._overlord = overlord
        self._dynamic = dynamic
        self._config = config
        self._clock = clock

    async def run(self) -> None:
        """Once a period, for ever; returns at once where it is off."""
        while self._config.on:
            try:
                await self.kill()
            except StaleEpochError:
                raise
            except (OverlordError, MetadataError) as error:
                log.warning("unused segments are not killed this time: %s", error)
            await trio.sleep(self._config.period_s)

    async def kill(self) -> list[str]:
        """Submit what is due; the ids of the tasks."""
        dynamic = self._dynamic()
        if dynamic.pause_coordination:
            return []
        active = await self._overlord.active_kills()
        slots = min(int(await self._overlord.capacity() * dynamic.kill_task_slot_ratio), dynamic.max_kill_task_slots)
        slots = max(slots, min(1, dynamic.max_kill_task_slots)) if dynamic.kill_task_slot_ratio > 0 else 0
        tasks: list[str] = []
        for name in await self._store.data_sources_with_unused():
            if dynamic.kill_data_sources and name not in dynamic.kill_data_sources:
                continue
            if len(active) + len(tasks) >= slots:
                break
            since_ms = self._clock() - self._config.buffer_period_ms
            interval = None if name in active else await self._due(name, since_ms)
            if interval is not None:
                task_id = f"coordinator-issued_kill_{name}_{uuid.uuid4().hex[:8]}"
                tasks.append(await self._overlord.submit_kill(task_id, name, interval, since_ms))
                log.info("%s is to kill the unused segments of %s in %s", task_id, name, interval)
        return tasks

    async def _due(self, data_source: str, since_ms: int) -> Interval | None:
        config = self._config
        ended_ms = None if config.ignore_duration_to_retain else self._clock() - config.duration_to_retain_ms
        due = await self._store.unused_intervals(data_source, ended_ms, since_ms, config.max_segments)
        if not due:
            return None
        unused = Counter(await self._store.unused_intervals(data_source, None, _FOREVER_MS, LOOKED_AT))
        due_anyway = Counter(await self._store.unused_intervals(data_source, ended_ms, since_ms, LOOKED_AT))
        return span_of(due, list(unused - due_anyway), config.max_interval_ms)
