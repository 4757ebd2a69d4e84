"""The metadata store in an SQLite file: one writer connection and one for long scans, each in a thread of its own.

WAL lets the scan read one instant while others write, in this process and in others (a Coordinator, its stand-by and
the Overlord open the same file). `synchronous = FULL` makes a commit durable before it is answered: a published segment
is not lost. A statement in a thread cannot be cancelled half-way; every one is short.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from druidroles.metadata import sql_rules, sql_segments, sql_tasks
from druidroles.metadata.errors import MetadataError
from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch, Publication, StoredLock, TaskRow
from druidroles.metadata.schema import ensure_schema
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

T = TypeVar("T")

# How long a statement waits for another process's transaction. Those are short; a longer wait means a stuck process.
BUSY_TIMEOUT_S = 5.0
# A page of a scan, and how many of its payloads are parsed before other tasks get their turn (about a millisecond).
PAGE_ROWS = 500
PARSED_PER_SLICE = 40


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _Worker:
    """One connection, used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self._name = name
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` on the connection in a thread. sqlite3's errors become MetadataError."""
        return await trio.to_thread.run_sync(self._run, work, limiter=self._limiter)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self.connection)
        except sqlite3.Error as error:
            raise MetadataError(f"metadata store {self._name}: {error}") from error


def _decode(segment_id: str, payload: bytes) -> DataSegment | None:
    """A row's segment; None, with a warning, where the payload is garbage: one bad row must not hide the others."""
    try:
        return sql_segments.decode_segment(payload)
    except ValueError as error:
        log.warning("metadata store: segment %s is skipped, its payload is bad: %s", segment_id, error)
        return None


def _decode_all(rows: Iterable[tuple[str, bytes]]) -> list[DataSegment]:
    return [segment for row in rows if (segment := _decode(*row)) is not None]


class SqliteMetadataStore:
    """A `MetadataStore` on SQLite. Made by `open_sqlite_store`; `clock` gives wall-clock milliseconds."""

    def __init__(self, main: _Worker, scan: _Worker, clock: Callable[[], int]) -> None:
        self._main = main
        self._scan = scan
        self._scanning = trio.Lock()
        self._clock = clock

    def _now(self) -> str:
        return format_iso(self._clock())

    async def _write(self, leader: LeaderEpoch, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction of a leader: its epoch is checked under the same write lock as what it changes."""

        def transaction(connection: sqlite3.Connection) -> T:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                sql_rules.check_epoch(connection, leader)
                return work(connection)

        return await self._main.run(transaction)

    # Leaders

    async def raise_epoch(self, leader: LeaderEpoch, holder: str = "") -> None:
        """See LeaderTable."""
        now = self._now()

        def transaction(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                sql_rules.raise_epoch(connection, leader, holder, now)

        await self._main.run(transaction)

    async def epochs(self) -> dict[str, int]:
        """See LeaderTable."""
        return await self._main.run(sql_rules.epochs)

    # Segments

    async def used_segments(self, known: Mapping[str, DataSegment] | None = None) -> list[DataSegment]:
        """See SegmentTable. Read in pages of one read transaction, parsed in slices, so that sessions stay alive."""
        known = known or {}
        found: list[DataSegment] = []
        async with self._scanning:
            try:
                await self._scan.run(lambda c: c.execute("BEGIN"))
                rows = await self._page_of_used("")
                while rows:
                    await self._parse_page(rows, known, found)
                    rows = await self._page_of_used(rows[-1][0])
            finally:
                # Ends the read transaction: here, because a thread could not be waited for once cancelled.
                self._scan.connection.rollback()
        return found

    async def _page_of_used(self, after: str) -> list[tuple[str, bytes]]:
        return await self._scan.run(lambda c: sql_segments.page_of_used(c, after, PAGE_ROWS))

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
        return _decode_all(await self._main.run(lambda c: sql_segments.overlapping(c, data_source, intervals, True)))

    async def unused_segments_in(self, data_source: str, interval: Interval) -> list[DataSegment]:
        """See SegmentTable."""
        return _decode_all(await self._main.run(lambda c: sql_segments.within(c, data_source, interval, False)))

    async def data_sources_with_unused(self) -> list[str]:
        """See SegmentTable."""
        return await self._main.run(sql_segments.data_sources_with_unused)

    async def unused_intervals(
        self, data_source: str, ended_ms: int | None, unused_since_ms: int, limit: int
    ) -> list[Interval]:
        """See SegmentTable."""
        ended = None if ended_ms is None else format_iso(ended_ms)
        since = format_iso(unused_since_ms)
        rows = await self._main.run(lambda c: sql_segments.unused_intervals(c, data_source, ended, since, limit))
        return [Interval.parse(f"{start}/{end}") for start, end in rows]

    async def segment(self, segment_id: str) -> tuple[DataSegment, bool] | None:
        """See SegmentTable."""
        row = await self._main.run(lambda c: sql_segments.find(c, segment_id))
        segment = None if row is None else _decode(segment_id, row[0])
        return None if row is None or segment is None else (segment, row[1])

    async def newest_version(self, data_source: str, interval: Interval) -> str | None:
        """See SegmentTable."""
        return await self._main.run(lambda c: sql_segments.newest_version(c, data_source, interval))

    async def publish_segments(self, leader: LeaderEpoch, publication: Publication) -> list[DataSegment]:
        """See SegmentTable."""
        now = self._now()

        def publish(connection: sqlite3.Connection) -> list[DataSegment]:
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
        return await self._main.run(sql_rules.rules)

    async def set_rules(
        self, leader: LeaderEpoch, data_source: str, rules: Sequence[Mapping[str, Any]], audit: Audit
    ) -> None:
        """See RuleTable."""
        now = self._now()
        await self._write(leader, lambda c: sql_rules.set_rules(c, data_source, rules, audit, now))

    async def config(self, name: str) -> Any | None:
        """See RuleTable."""
        return await self._main.run(lambda c: sql_rules.config(c, name))

    async def set_config(self, leader: LeaderEpoch, name: str, value: Any, audit: Audit) -> None:
        """See RuleTable."""
        now = self._now()
        await self._write(leader, lambda c: sql_rules.set_config(c, name, value, audit, now))

    async def audit_entries(self, audit_type: str, key: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """See RuleTable."""
        return await self._main.run(lambda c: sql_rules.audit_entries(c, audit_type, key, limit))

    # Tasks and locks

    async def insert_task(self, leader: LeaderEpoch, task: TaskRow) -> bool:
        """See TaskTable."""
        return await self._write(leader, lambda c: sql_tasks.insert(c, task))

    async def task(self, task_id: str) -> TaskRow | None:
        """See TaskTable."""
        return await self._main.run(lambda c: sql_tasks.find(c, task_id))

    async def active_tasks(self) -> list[TaskRow]:
        """See TaskTable."""
        return await self._main.run(sql_tasks.active)

    async def ended_tasks(self, limit: int) -> list[TaskRow]:
        """See TaskTable."""
        return await self._main.run(lambda c: sql_tasks.ended(c, limit))

    async def begin_attempt(self, leader: LeaderEpoch, task_id: str, worker: str) -> int | None:
        """See TaskTable."""
        now = self._now()
        return await self._write(leader, lambda c: sql_tasks.begin_attempt(c, task_id, worker, now))

    async def end_task(self, leader: LeaderEpoch, task_id: str, status: Mapping[str, Any]) -> bool:
        """See TaskTable."""
        return await self._write(leader, lambda c: sql_tasks.end(c, task_id, status))

    async def locks(self) -> list[StoredLock]:
        """See TaskTable."""
        return await self._main.run(sql_tasks.locks)

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


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions are begun by hand, sqlite3 adds none of its own.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _open(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    if not path.parent.is_dir():
        raise MetadataError(f"metadata store {path}: the directory {path.parent} does not exist")
    try:
        main = _connect(path)
    except sqlite3.Error as error:
        raise MetadataError(f"metadata store {path}: {error}") from error
    try:
        main.execute("PRAGMA journal_mode = WAL")
        ensure_schema(main, str(path))
        return main, _connect(path)
    except sqlite3.Error as error:
        main.close()
        raise MetadataError(f"metadata store {path}: {error}") from error
    except MetadataError:
        main.close()
        raise


@asynccontextmanager
async def open_sqlite_store(path: Path, *, clock: Callable[[], int] = _wall_ms) -> AsyncIterator[SqliteMetadataStore]:
    """Open the store in `path`, made if it is not there; the directory must be. Raises MetadataError."""
    main, scan = await trio.to_thread.run_sync(_open, path)
    try:
        yield SqliteMetadataStore(_Worker(main, str(path)), _Worker(scan, str(path)), clock)
    finally:
        scan.close()
        main.close()
