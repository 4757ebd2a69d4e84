"""The metadata store over a database that speaks SQL: which statement answers what, in which transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import trio

from druidroles.metadata import sql_rules, sql_segments, sql_tasks
from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch, Publication, StoredLock, TaskRow
from druidroles.metadata.sql import Connection, Database
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

T = TypeVar("T")

# A page of a scan, and how many of its payloads are parsed before other tasks get their turn (about a millisecond).
PAGE_ROWS = 500
PARSED_PER_SLICE = 40


def wall_ms() -> int:
    """The clock of what is stored."""
    return time.time_ns() // 1_000_000


def _decode(segment_id: str, payload: bytes) -> DataSegment | None:
    """A row's segment; None, with a warning, where the payload is garbage: one bad row must not hide the others."""
    try:
        return sql_segments.decode_segment(payload)
    except ValueError as error:
        log.warning("metadata store: segment %s is skipped, its payload is bad: %s", segment_id, error)
        return None


def _decode_all(rows: Iterable[tuple[str, bytes]]) -> list[DataSegment]:
    return [segment for row in rows if (segment := _decode(*row)) is not None]


class SqlMetadataStore:
    """A `MetadataStore` on a database; `clock` gives wall-clock milliseconds."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def _now(self) -> str:
        return format_iso(self._clock())

    async def _write(self, leader: LeaderEpoch, work: Callable[[Connection], T]) -> T:
        """One transaction of a leader: its epoch is checked under the same lock as what it changes."""

        def transaction(connection: Connection) -> T:
            sql_rules.check_epoch(connection, leader)
            return work(connection)

        return await self._database.write(leader.role, transaction)

    # Leaders

    async def raise_epoch(self, leader: LeaderEpoch, holder: str = "") -> None:
        """See LeaderTable."""
        now = self._now()
        await self._database.write(leader.role, lambda c: sql_rules.raise_epoch(c, leader, holder, now))

    async def epochs(self) -> dict[str, int]:
        """See LeaderTable."""
        return await self._database.read(sql_rules.epochs)

    # Segments

    async def used_segments(self, known: Mapping[str, DataSegment] | None = None) -> list[DataSegment]:
        """See SegmentTable. Read in pages of one read transaction, parsed in slices, so that sessions stay alive."""
        known = known or {}
        found: list[DataSegment] = []
        async with self._database.snapshot() as snapshot:
            after = ""
            while rows := await snapshot.read(partial(sql_segments.page_of_used, after=after, limit=PAGE_ROWS)):
                await self._parse_page(rows, known, found)
                after = rows[-1][0]
        return found

    @staticmethod
    async def _parse_page(
        rows: Sequence[tuple[str, bytes]], known: Mapping[str, DataSegment], found: list[DataSegment]
    ) -> None:
        for index, (segment_id, payload) in enumerate(rows):
            if index % PARSED_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
            segment = known.get(segment_id) or _decode(segment_id, payload)
            if segment is not None:
                found.append(segment)

    async def used_segments_in(self, data_source: str, intervals: Sequence[Interval]) -> list[DataSegment]:
        """See SegmentTable."""
        return _decode_all(
            await self._database.read(lambda c: sql_segments.overlapping(c, data_source, intervals, True))
        )

    async def unused_segments_in(
        self,
        data_source: str,
        interval: Interval,
        *,
        versions: Collection[str] | None = None,
        unused_since_ms: int | None = None,
    ) -> list[DataSegment]:
        """See SegmentTable."""
        since = None if unused_since_ms is None else format_iso(unused_since_ms)
        rows = await self._database.read(lambda c: sql_segments.unused_within(c, data_source, interval, since))
        found = _decode_all(rows)
        return found if versions is None else [segment for segment in found if segment.version in versions]

    async def data_sources_with_unused(self) -> list[str]:
        """See SegmentTable."""
        return await self._database.read(sql_segments.data_sources_with_unused)

    async def unused_intervals(
        self, data_source: str, ended_ms: int | None, unused_since_ms: int, limit: int
    ) -> list[Interval]:
        """See SegmentTable."""
        ended = None if ended_ms is None else format_iso(ended_ms)
        since = format_iso(unused_since_ms)
        rows = await self._database.read(lambda c: sql_segments.unused_intervals(c, data_source, ended, since, limit))
        return [Interval.parse(f"{start}/{end}") for start, end in rows]

    async def segment(self, segment_id: str) -> tuple[DataSegment, bool] | None:
        """See SegmentTable."""
        row = await self._database.read(lambda c: sql_segments.find(c, segment_id))
        segment = None if row is None else _decode(segment_id, row[0])
        return None if row is None or segment is None else (segment, row[1])

    async def newest_version(self, data_source: str, interval: Interval) -> str | None:
        """See SegmentTable."""
        return await self._database.read(lambda c: sql_segments.newest_version(c, data_source, interval))

    async def publish_segments(self, leader: LeaderEpoch, publication: Publication) -> list[DataSegment]:
        """See SegmentTable."""
        now = self._now()

        def publish(connection: Connection) -> list[DataSegment]:
            inserted = sql_segments.publish(connection, publication, now)
            sql_tasks.note_published(connection, publication.task_id)
            return inserted

        return await self._write(leader, publish)

    async def set_used(self, leader: LeaderEpoch, segment_ids: Iterable[str], used: bool) -> int:
        """See SegmentTable."""
        ids, now = list(segment_ids), self._now()
        return await self._write(leader, lambda c: sql_segments.set_used(c, ids, used, now))

    async def set_used_in(self, leader: LeaderEpoch, data_source: str, interval: Interval | None, used: bool) -> int:
        """See SegmentTable."""
        now = self._now()
        return await self._write(leader, lambda c: sql_segments.set_used_in(c, data_source, interval, used, now))

    async def delete_segments(self, leader: LeaderEpoch, segment_ids: Iterable[str]) -> int:
        """See SegmentTable."""
        ids = list(segment_ids)
        return await self._write(leader, lambda c: sql_segments.delete(c, ids))

    # Rules and configuration

    async def rules(self) -> dict[str, list[dict[str, Any]]]:
        """See RuleTable."""
        return await self._database.read(sql_rules.rules)

    async def set_rules(
        self, leader: LeaderEpoch, data_source: str, rules: Sequence[Mapping[str, Any]], audit: Audit
    ) -> None:
        """See RuleTable."""
        now = self._now()
        await self._write(leader, lambda c: sql_rules.set_rules(c, data_source, rules, audit, now))

    async def config(self, name: str) -> Any | None:
        """See RuleTable."""
        return await self._database.read(lambda c: sql_rules.config(c, name))

    async def set_config(self, leader: LeaderEpoch, name: str, value: Any, audit: Audit) -> None:
        """See RuleTable."""
        now = self._now()
        await self._write(leader, lambda c: sql_rules.set_config(c, name, value, audit, now))

    async def audit_entries(self, audit_type: str, key: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """See RuleTable."""
        return await self._database.read(lambda c: sql_rules.audit_entries(c, audit_type, key, limit))

    # Tasks and locks

    async def insert_task(self, leader: LeaderEpoch, task: TaskRow) -> bool:
        """See TaskTable."""
        return await self._write(leader, lambda c: sql_tasks.insert(c, task))

    async def task(self, task_id: str) -> TaskRow | None:
        """See TaskTable."""
        return await self._database.read(lambda c: sql_tasks.find(c, task_id))

    async def active_tasks(self) -> list[TaskRow]:
        """See TaskTable."""
        return await self._database.read(sql_tasks.active)

    async def ended_tasks(self, limit: int) -> list[TaskRow]:
        """See TaskTable."""
        return await self._database.read(lambda c: sql_tasks.ended(c, limit))

    async def begin_attempt(self, leader: LeaderEpoch, task_id: str, worker: str) -> int | None:
        """See TaskTable."""
        now = self._now()
        return await self._write(leader, lambda c: sql_tasks.begin_attempt(c, task_id, worker, now))

    async def end_task(self, leader: LeaderEpoch, task_id: str, status: Mapping[str, Any]) -> bool:
        """See TaskTable."""
        return await self._write(leader, lambda c: sql_tasks.end(c, task_id, status))

    async def locks(self) -> list[StoredLock]:
        """See TaskTable."""
        return await self._database.read(sql_tasks.locks)

    async def add_lock(
        self, leader: LeaderEpoch, task_id: str, lock: Mapping[str, Any], revoked: Iterable[int]
    ) -> int | None:
        """See TaskTable."""
        rows = list(revoked)
        return await self._write(leader, lambda c: sql_tasks.add_lock(c, task_id, lock, rows))

    async def remove_locks(self, leader: LeaderEpoch, row_ids: Iterable[int]) -> None:
        """See TaskTable."""
        rows = list(row_ids)
        await self._write(leader, lambda c: sql_tasks.remove_locks(c, rows))
