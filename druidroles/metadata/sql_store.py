"""The metadata store over a database that speaks SQL: which statement answers what, in which transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import trio

from druidroles.metadata import sql_rules, sql_segments, sql_tasks
from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch, Publication, StoredLock, StoredRules, TaskRow
from druidroles.metadata.sql import Connection, Database
from druidroles.metadata.unreadable import UnreadableRows
from druidroles.model.decode import ModelError
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment

T = TypeVar("T")

# A page of a scan, and how many of its payloads are parsed before other tasks get their turn (about a millisecond).
PAGE_ROWS = 500
PARSED_PER_SLICE = 40
CHECK_S = 1.0  # between two looks whether the store is still there


def wall_ms() -> int:
    """The clock of what is stored."""
    return time.time_ns() // 1_000_000


class SqlMetadataStore:
    """A `MetadataStore` on a database; `clock` gives wall-clock milliseconds."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self.unreadable = UnreadableRows()
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

    async def renew(self) -> None:
        """See LeaderTable."""
        await self._database.renew()

    async def until_lost(self) -> NoReturn:
        """See LeaderTable."""
        while True:
            await self._database.check()
            await trio.sleep(CHECK_S)

    async def is_empty(self) -> bool:
        """See LeaderTable."""
        return await self._database.read(sql_rules.is_empty)

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

    def _segment(self, segment_id: str, payload: bytes) -> DataSegment | None:
        return sql_segments.read_segment(segment_id, payload, self.unreadable)

    def _segments(self, rows: Iterable[tuple[str, bytes]]) -> list[DataSegment]:
        return [segment for row in rows if (segment := self._segment(*row)) is not None]

    async def _parse_page(
        self, rows: Sequence[tuple[str, bytes]], known: Mapping[str, DataSegment], found: list[DataSegment]
    ) -> None:
        for index, (segment_id, payload) in enumerate(rows):
            if index % PARSED_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
            segment = known.get(segment_id) or self._segment(segment_id, payload)
            if segment is not None:
                found.append(segment)

    async def used_segments_in(self, data_source: str, intervals: Sequence[Interval]) -> list[DataSegment]:
        """See SegmentTable."""
        return self._segments(
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
        found = self._segments(rows)
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
        return [interval for row in rows if (interval := self._interval(*row)) is not None]

    def _interval(self, segment_id: str, start: str, end: str) -> Interval | None:
        try:
            return Interval.parse(f"{start}/{end}")
        except ModelError as fault:
            self.unreadable.note("druid_segments.start", segment_id, str(fault))
            return None

    async def segment(self, segment_id: str) -> tuple[DataSegment, bool] | None:
        """See SegmentTable."""
        row = await self._database.read(lambda c: sql_segments.find(c, segment_id))
        segment = None if row is None else self._segment(segment_id, row[0])
        return None if row is None or segment is None else (segment, row[1])

    async def data_source_of(self, segment_id: str) -> str | None:
        """See SegmentTable."""
        return await self._database.read(lambda c: sql_segments.data_source_of(c, segment_id))

    async def newest_version(self, data_source: str, interval: Interval) -> str | None:
        """See SegmentTable."""
        return await self._database.read(lambda c: sql_segments.newest_version(c, data_source, interval))

    async def publish_segments(self, leader: LeaderEpoch, publication: Publication) -> list[DataSegment]:
        """See SegmentTable."""
        now = self._now()

        def publish(connection: Connection) -> list[DataSegment]:
            inserted = sql_segments.publish(connection, publication, now, self.unreadable)
            sql_tasks.note_published(connection, publication.task_id, self.unreadable)
            return inserted

        return await self._write(leader, publish)

    async def set_used(self, leader: LeaderEpoch, segment_ids: Iterable[str], used: bool) -> int:
        """See SegmentTable."""
        ids, now = list(segment_ids), self._now()
        return await self._write(leader, lambda c: sql_segments.set_used(c, ids, used, now))

    async def set_used_in(
        self,
        leader: LeaderEpoch,
        data_source: str,
        interval: Interval | None,
        used: bool,
        versions: Collection[str] | None = None,
    ) -> int:
        """See SegmentTable."""
        now, only = self._now(), None if versions is None else list(versions)
        return await self._write(leader, lambda c: sql_segments.set_used_in(c, data_source, interval, only, used, now))

    async def delete_segments(self, leader: LeaderEpoch, segment_ids: Iterable[str]) -> int:
        """See SegmentTable."""
        ids = list(segment_ids)
        return await self._write(leader, lambda c: sql_segments.delete(c, ids))

    # Rules and configuration

    async def rules(self) -> StoredRules:
        """See RuleTable."""
        return await self._database.read(lambda c: sql_rules.rules(c, self.unreadable))

    async def set_rules(
        self, leader: LeaderEpoch, data_source: str, rules: Sequence[Mapping[str, Any]], audit: Audit
    ) -> None:
        """See RuleTable."""
        now = self._now()
        await self._write(leader, lambda c: sql_rules.set_rules(c, data_source, rules, audit, now))

    async def config(self, name: str) -> Mapping[str, Any] | None:
        """See RuleTable."""
        return await self._database.read(lambda c: sql_rules.config(c, name, self.unreadable))

    async def set_config(self, leader: LeaderEpoch, name: str, value: Any, audit: Audit) -> None:
        """See RuleTable."""
        now = self._now()
        await self._write(leader, lambda c: sql_rules.set_config(c, name, value, audit, now))

    async def audit_entries(self, audit_type: str, key: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """See RuleTable."""
        return await self._database.read(lambda c: sql_rules.audit_entries(c, audit_type, key, limit, self.unreadable))

    # Tasks and locks

    async def insert_task(self, leader: LeaderEpoch, task: TaskRow) -> bool:
        """See TaskTable."""
        return await self._write(leader, lambda c: sql_tasks.insert(c, task))

    async def task(self, task_id: str) -> TaskRow | None:
        """See TaskTable."""
        return await self._database.read(lambda c: sql_tasks.find(c, task_id, self.unreadable))

    async def active_tasks(self) -> list[TaskRow]:
        """See TaskTable."""
        return await self._database.read(lambda c: sql_tasks.active(c, self.unreadable))

    async def ended_tasks(self, limit: int) -> list[TaskRow]:
        """See TaskTable."""
        return await self._database.read(lambda c: sql_tasks.ended(c, limit, self.unreadable))

    async def begin_attempt(self, leader: LeaderEpoch, task_id: str, worker: str) -> int | None:
        """See TaskTable."""
        now = self._now()
        return await self._write(leader, lambda c: sql_tasks.begin_attempt(c, task_id, worker, now))

    async def end_task(self, leader: LeaderEpoch, task_id: str, status: Mapping[str, Any]) -> bool:
        """See TaskTable."""
        return await self._write(leader, lambda c: sql_tasks.end(c, task_id, status))

    async def locks(self) -> list[StoredLock]:
        """See TaskTable."""
        return await self._database.read(lambda c: sql_tasks.locks(c, self.unreadable))

    async def add_lock(
        self, leader: LeaderEpoch, task_id: str, lock: Mapping[str, Any], revoked: Iterable[int]
    ) -> int | None:
        """See TaskTable."""
        rows = list(revoked)
        return await self._write(leader, lambda c: sql_tasks.add_lock(c, task_id, lock, rows, self.unreadable))

    async def remove_locks(self, leader: LeaderEpoch, row_ids: Iterable[int]) -> None:
        """See TaskTable."""
        rows = list(row_ids)
        await self._write(leader, lambda c: sql_tasks.remove_locks(c, rows))
