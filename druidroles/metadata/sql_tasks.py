"""The statements on `druid_tasks`, `druid_tasklocks` and `coord_task_attempts`, inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from druidroles.metadata.records import StoredLock, TaskRow
from druidroles.metadata.sql import Connection
from druidroles.metadata.sql_rules import encode
from druidroles.metadata.unreadable import UnreadableRows
from druidroles.model.decode import ModelError, as_object
from druidroles.model.iso import parse_iso
from druidroles.model.task import TaskLock

TABLE = "druid_tasks"
STATUS = "druid_tasks.status_payload"
LOCKS = "druid_tasklocks"

_COLUMNS = (
    "SELECT t.id, t.created_date, t.datasource, t.payload, t.status_payload, t.active, t.type, t.group_id,"
    " coalesce(a.attempt, 0), a.worker FROM druid_tasks t LEFT JOIN coord_task_attempts a ON a.task_id = t.id"
)


def _row(columns: tuple[Any, ...], unreadable: UnreadableRows) -> TaskRow | None:
    task_id, created, data_source, payload, status, active, kind, group_id, attempt, worker = columns

    def with_payload(value: Any) -> TaskRow:
        if not all(isinstance(text, str) for text in (task_id, created, data_source, kind, group_id)):
            raise ModelError("a column of text holds something else")
        parse_iso(created)
        return TaskRow(
            id=task_id,
            data_source=data_source,
            type=kind,
            group_id=group_id,
            created_date=created,
            payload=as_object(value, "payload"),
            status={},
            active=bool(active),
            attempt=attempt,
            worker=worker,
        )

    row = unreadable.read(TABLE, task_id, payload, with_payload)
    said = unreadable.read(STATUS, task_id, status, lambda value: as_object(value, "status_payload"))
    return None if row is None or said is None else attrs.evolve(row, status=said)


def _rows(rows: Iterable[tuple[Any, ...]], unreadable: UnreadableRows) -> list[TaskRow]:
    return [row for columns in rows if (row := _row(columns, unreadable)) is not None]


def insert(connection: Connection, task: TaskRow) -> bool:
    """Add a task; False if the id is taken."""
    cursor = connection.execute(
        "INSERT INTO druid_tasks (id, created_date, datasource, payload, status_payload, active, type, group_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            task.id,
            task.created_date,
            task.data_source,
            encode(task.payload),
            encode(task.status),
            task.active,
            task.type,
            task.group_id,
        ),
    )
    return cursor.rowcount == 1


def find(connection: Connection, task_id: str, unreadable: UnreadableRows) -> TaskRow | None:
    """One task, if it can be read."""
    row = connection.execute(f"{_COLUMNS} WHERE t.id = ?", (task_id,)).fetchone()
    return None if row is None else _row(row, unreadable)


def active(connection: Connection, unreadable: UnreadableRows) -> list[TaskRow]:
    """The tasks that have not ended, oldest first."""
    statement = f"{_COLUMNS} WHERE t.active = TRUE ORDER BY t.created_date /*C*/, t.id /*C*/"
    return _rows(connection.execute(statement), unreadable)


def ended(connection: Connection, limit: int, unreadable: UnreadableRows) -> list[TaskRow]:
    """The tasks that have ended, newest first."""
    statement = f"{_COLUMNS} WHERE t.active = FALSE ORDER BY t.created_date /*C*/ DESC, t.id /*C*/ LIMIT ?"
    return _rows(connection.execute(statement, (limit,)), unreadable)


def _is_active(connection: Connection, task_id: str) -> bool:
    row = connection.execute("SELECT active FROM druid_tasks WHERE id = ?", (task_id,)).fetchone()
    return row is not None and bool(row[0])


def begin_attempt(connection: Connection, task_id: str, worker: str, now: str) -> int | None:
    """Count an attempt; None if the task has ended or is unknown."""
    if not _is_active(connection, task_id):
        return None
    connection.execute(
        "INSERT INTO coord_task_attempts (task_id, attempt, worker, begun_date) VALUES (?, 1, ?, ?)"
        " ON CONFLICT (task_id) DO UPDATE SET attempt = coord_task_attempts.attempt + 1, worker = excluded.worker,"
        " begun_date = excluded.begun_date",
        (task_id, worker, now),
    )
    (attempt,) = connection.execute("SELECT attempt FROM coord_task_attempts WHERE task_id = ?", (task_id,)).fetchone()
    return int(attempt)


def end(connection: Connection, task_id: str, status: Mapping[str, Any]) -> bool:
    """Store the last status, clear `active`, drop the locks; False if the task had ended before."""
    cursor = connection.execute(
        "UPDATE druid_tasks SET status_payload = ?, active = FALSE WHERE id = ? AND active = TRUE",
        (encode(status), task_id),
    )
    connection.execute("DELETE FROM druid_tasklocks WHERE task_id = ?", (task_id,))
    return cursor.rowcount == 1


def note_published(connection: Connection, task_id: str, unreadable: UnreadableRows) -> None:
    """Note in a task's status that its segments are published (TaskRow.published)."""
    (payload,) = connection.execute("SELECT status_payload FROM druid_tasks WHERE id = ?", (task_id,)).fetchone()
    status = unreadable.read(STATUS, task_id, payload, lambda value: as_object(value, "status_payload"))
    noted = {**(status or {}), "coord": {"published": True}}
    connection.execute("UPDATE druid_tasks SET status_payload = ? WHERE id = ?", (encode(noted), task_id))


def read_lock(row_id: int, payload: object, unreadable: UnreadableRows) -> Mapping[str, Any] | None:
    """The JSON object in a row of `druid_tasklocks`, which TaskLock reads; None where it cannot be read."""

    def read(value: Any) -> Mapping[str, Any]:
        TaskLock.from_json(value)
        return as_object(value, "lock_payload")

    return unreadable.read(LOCKS, row_id, payload, read)


def locks(connection: Connection, unreadable: UnreadableRows) -> list[StoredLock]:
    """All locks in the order granted."""
    rows = connection.execute("SELECT id, task_id, lock_payload FROM druid_tasklocks ORDER BY id")
    read = ((row_id, task_id, read_lock(row_id, payload, unreadable)) for row_id, task_id, payload in rows)
    return [StoredLock(row_id=row_id, task_id=task_id, lock=lock) for row_id, task_id, lock in read if lock is not None]


def add_lock(
    connection: Connection,
    task_id: str,
    lock: Mapping[str, Any],
    revoked: Iterable[int],
    unreadable: UnreadableRows,
) -> int | None:
    """Store a lock of an active task, and mark others revoked, which their tasks learn when they publish."""
    if not _is_active(connection, task_id):
        return None
    for row_id in revoked:
        row = connection.execute("SELECT lock_payload FROM druid_tasklocks WHERE id = ?", (row_id,)).fetchone()
        held = None if row is None else read_lock(row_id, row[0], unreadable)
        if held is not None:
            payload = encode({**held, "revoked": True})
            connection.execute("UPDATE druid_tasklocks SET lock_payload = ? WHERE id = ?", (payload, row_id))
    (added,) = connection.execute(
        "INSERT INTO druid_tasklocks (task_id, lock_payload) VALUES (?, ?) RETURNING id", (task_id, encode(lock))
    ).fetchall()[0]
    return int(added)


def remove_locks(connection: Connection, row_ids: Iterable[int]) -> None:
    """Drop locks by row."""
    connection.executemany("DELETE FROM druid_tasklocks WHERE id = ?", [(row_id,) for row_id in row_ids])
