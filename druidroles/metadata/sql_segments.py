"""The statements on `druid_segments`. Synchronous, on a connection inside a transaction; `now` is ISO text.

Intervals are compared as text: ISO in UTC with four-digit years sorts as it follows in time. Of the wider years only
those of ETERNITY occur (granularity ALL): its start has a sign, which sorts before every digit; its end is told by its
length.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from druidroles.metadata.errors import PublishRefusedError
from druidroles.metadata.records import Publication
from druidroles.metadata.sql import Connection
from druidroles.metadata.sql_tasks import read_lock
from druidroles.metadata.unreadable import UnreadableRows
from druidroles.model.decode import as_object
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock

TABLE = "druid_segments"

# SQLite allows 32,766 variables in a statement, PostgreSQL's protocol 65,535; a slice keeps far below either.
_IDS_PER_STATEMENT = 500

_YEAR_10000_MS = 253_402_300_800_000
_AFTER_ALL = ":"  # sorts behind every digit
_OVERLAPS = 'start /*C*/ < ? AND ("end" /*C*/ > ? OR length("end") > 24)'
_WITHIN = 'start /*C*/ >= ? AND "end" /*C*/ <= ? AND (length("end") <= 24 OR ? = \':\')'


def _end_text(interval: Interval) -> str:
    return format_iso(interval.end_ms) if interval.end_ms < _YEAR_10000_MS else _AFTER_ALL


def _overlap_values(interval: Interval) -> tuple[str, str]:
    return _end_text(interval), format_iso(interval.start_ms)


def _within_values(interval: Interval) -> tuple[str, str, str]:
    return format_iso(interval.start_ms), _end_text(interval), _end_text(interval)


def read_segment(segment_id: str, payload: bytes, unreadable: UnreadableRows) -> DataSegment | None:
    """The segment in a row; None where it cannot be read."""
    return unreadable.read(TABLE, segment_id, payload, lambda value: DataSegment.from_json(as_object(value, "payload")))


def page_of_used(connection: Connection, after: str, limit: int) -> list[tuple[str, bytes]]:
    """Ids and payloads of the used segments whose id follows `after`, ordered by id."""
    return connection.execute(
        "SELECT id, payload FROM druid_segments WHERE used = TRUE AND id /*C*/ > ? ORDER BY id /*C*/ LIMIT ?",
        (after, limit),
    ).fetchall()


def overlapping(
    connection: Connection, data_source: str, intervals: Sequence[Interval], used: bool
) -> list[tuple[str, bytes]]:
    """Ids and payloads of the segments that overlap one of the intervals, ordered by id."""
    found: dict[str, bytes] = {}
    for interval in intervals:
        rows = connection.execute(
            f"SELECT id, payload FROM druid_segments WHERE dataSource = ? AND used = ? AND {_OVERLAPS}",
            (data_source, used, *_overlap_values(interval)),
        )
        found.update(rows)
    return sorted(found.items())


def unused_within(
    connection: Connection, data_source: str, interval: Interval, unused_since: str | None
) -> list[tuple[str, bytes]]:
    """Ids and payloads of the unused segments that lie within the interval, ordered by id.

    With `unused_since` only of those that have been unused since.
    """
    statement = f"SELECT id, payload FROM druid_segments WHERE dataSource = ? AND used = ? AND {_WITHIN}"
    values: list[object] = [data_source, False, *_within_values(interval)]
    if unused_since is not None:
        statement += " AND used_status_last_updated /*C*/ <= ?"
        values.append(unused_since)
    return connection.execute(statement + " ORDER BY id /*C*/", values).fetchall()


def data_sources_with_unused(connection: Connection) -> list[str]:
    """Datasources of unused segments, sorted."""
    rows = connection.execute("SELECT DISTINCT dataSource FROM druid_segments WHERE used = ?", (False,))
    return sorted(name for (name,) in rows)


def unused_intervals(
    connection: Connection, data_source: str, ended: str | None, unused_since: str, limit: int
) -> list[tuple[str, str, str]]:
    """Id, start and end of segments that have been unused since an instant, and ended by another; ordered by start."""
    statement = 'SELECT id, start, "end" FROM druid_segments WHERE dataSource = ? AND used = ?'
    statement += " AND used_status_last_updated /*C*/ <= ?"
    values: list[object] = [data_source, False, unused_since]
    if ended is not None:
        statement += ' AND "end" /*C*/ <= ? AND length("end") <= 24'
        values.append(ended)
    return connection.execute(statement + ' ORDER BY start /*C*/, "end" /*C*/ LIMIT ?', [*values, limit]).fetchall()


def find(connection: Connection, segment_id: str) -> tuple[bytes, bool] | None:
    """Payload and used flag of one segment."""
    row = connection.execute("SELECT payload, used FROM druid_segments WHERE id = ?", (segment_id,)).fetchone()
    return None if row is None else (row[0], bool(row[1]))


def data_source_of(connection: Connection, segment_id: str) -> str | None:
    """The datasource of one segment."""
    row = connection.execute("SELECT dataSource FROM druid_segments WHERE id = ?", (segment_id,)).fetchone()
    return None if row is None else str(row[0])


def newest_version(connection: Connection, data_source: str, interval: Interval) -> str | None:
    """The highest version that overlaps the interval. Unused segments count: a version is never given twice."""
    (version,) = connection.execute(
        f"SELECT max(version /*C*/) FROM druid_segments WHERE dataSource = ? AND {_OVERLAPS}",
        (data_source, *_overlap_values(interval)),
    ).fetchone()
    return None if version is None else str(version)


def publish(
    connection: Connection, publication: Publication, now: str, unreadable: UnreadableRows
) -> list[DataSegment]:
    """Check the task, its attempt and its locks, then insert what is not there yet. Returns what was inserted."""
    _check_attempt(connection, publication)
    locks = _locks_of(connection, publication.task_id, unreadable)
    inserted = []
    for segment in publication.segments:
        if not any(_covers(lock, segment) for lock in locks):
            raise PublishRefusedError(f"task {publication.task_id} holds no lock that covers segment {segment.id}")
        cursor = connection.execute(
            'INSERT INTO druid_segments (id, dataSource, created_date, start, "end", partitioned, version, used,'
            " payload, used_status_last_updated)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, TRUE, ?, ?) ON CONFLICT (id) DO NOTHING",
            (
                segment.id,
                segment.data_source,
                now,
                format_iso(segment.interval.start_ms),
                format_iso(segment.interval.end_ms),
                segment.shard_spec.type != "none",
                segment.version,
                json.dumps(segment.to_json(), separators=(",", ":")).encode(),
                now,
            ),
        )
        if cursor.rowcount:
            inserted.append(segment)
    return inserted


def _check_attempt(connection: Connection, publication: Publication) -> None:
    row = connection.execute(
        "SELECT t.active, a.attempt FROM druid_tasks t"
        " LEFT JOIN coord_task_attempts a ON a.task_id = t.id WHERE t.id = ?",
        (publication.task_id,),
    ).fetchone()
    if row is None:
        raise PublishRefusedError(f"task {publication.task_id} is unknown")
    active, attempt = row
    if not active:
        raise PublishRefusedError(f"task {publication.task_id} has ended")
    if attempt != publication.attempt:
        raise PublishRefusedError(
            f"attempt {publication.attempt} of task {publication.task_id} is superseded by attempt {attempt}"
        )


def _locks_of(connection: Connection, task_id: str, unreadable: UnreadableRows) -> list[TaskLock]:
    """The locks of a task that are not revoked."""
    rows = connection.execute("SELECT id, lock_payload FROM druid_tasklocks WHERE task_id = ?", (task_id,))
    read = (read_lock(row_id, payload, unreadable) for row_id, payload in rows)
    locks = [TaskLock.from_json(lock) for lock in read if lock is not None]
    return [lock for lock in locks if not lock.revoked]


def _covers(lock: TaskLock, segment: DataSegment) -> bool:
    return (
        lock.data_source == segment.data_source
        and lock.version == segment.version
        and lock.interval.contains(segment.interval)
    )


def set_used(connection: Connection, segment_ids: Iterable[str], used: bool, now: str) -> int:
    """Set the used flag of segments that have the other; returns how many changed."""
    changed = 0
    for ids in _slices(segment_ids):
        changed += connection.execute(
            "UPDATE druid_segments SET used = ?, used_status_last_updated = ?"
            f" WHERE used <> ? AND id IN ({_marks(ids)})",
            (used, now, used, *ids),
        ).rowcount
    return changed


def set_used_in(
    connection: Connection,
    data_source: str,
    interval: Interval | None,
    versions: Collection[str] | None,
    used: bool,
    now: str,
) -> int:
    """Set the used flag of the segments of a datasource: of those within the interval, and of the versions, if given.

    An empty collection of versions selects nothing.
    """
    statement = "UPDATE druid_segments SET used = ?, used_status_last_updated = ? WHERE used <> ? AND dataSource = ?"
    values: list[object] = [used, now, used, data_source]
    if interval is not None:
        statement += f" AND {_WITHIN}"
        values += _within_values(interval)
    if versions is None:
        return connection.execute(statement, values).rowcount
    changed = 0
    for some in _slices(dict.fromkeys(versions)):
        changed += connection.execute(f"{statement} AND version IN ({_marks(some)})", [*values, *some]).rowcount
    return changed


def delete(connection: Connection, segment_ids: Iterable[str]) -> int:
    """Delete the rows of those of the segments that are unused."""
    deleted = 0
    for ids in _slices(segment_ids):
        deleted += connection.execute(
            f"DELETE FROM druid_segments WHERE used = FALSE AND id IN ({_marks(ids)})", ids
        ).rowcount
    return deleted


def _slices(ids: Iterable[str]) -> Iterable[list[str]]:
    everything = list(ids)
    for start in range(0, len(everything), _IDS_PER_STATEMENT):
        yield everything[start : start + _IDS_PER_STATEMENT]


def _marks(ids: Sequence[str]) -> str:
    return ",".join("?" * len(ids))
