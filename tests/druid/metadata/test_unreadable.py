"""Every table with every broken payload: the row is passed over, named once, counted; every other row is there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from druidroles.metadata import (
    Audit,
    LeaderEpoch,
    Publication,
    PublishRefusedError,
    TaskRow,
    UnreadableRowError,
    UnstorableValueError,
)
from druidroles.metadata.sql_store import SqlMetadataStore
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "a brace": b"{",
    "not text": b"\x00\x01\xff",
    "null": b"null",
    "an array": b"[]",
    "a number": b"5",
    "a string": b'"x"',
    "brackets": b"[" * 100_000,
    "braces": b'{"a":' * 100_000,
    "NaN": b'{"size": NaN}',
    "half a surrogate": rb'{"a": "\ud800"}',
    "an odd object": b'{"dataSource": 5, "interval": "x", "id": []}',
}
VERSION = "2024-01-01T00:00:00.000Z"
LOCK = TaskLock("group", "flights", Interval.parse("2013/2014"), VERSION)
Make = Callable[..., DataSegment]


@attrs.frozen(kw_only=True)
class Table:
    """A payload column: where it is, its unreadable row as counted, and what a reader sees of the rows there."""

    table: str
    column: str
    where: str
    keys: Callable[[SqlMetadataStore], Awaitable[Any]]
    good: Any
    left: Any
    counted: str
    takes_objects: bool = False  # any JSON object can be read
    takes_json: bool = False
    takes_list: bool = False  # an empty array can be read


async def _config(store: SqlMetadataStore) -> Any:
    try:
        return await store.config("c")
    except UnreadableRowError:
        return "unreadable"


async def _rules(store: SqlMetadataStore) -> Any:
    stored = await store.rules()
    return sorted(stored.rules), sorted(stored.faults)


async def _segment_ids(segments: Awaitable[list[DataSegment]]) -> list[int]:
    return [segment.interval.start_ms // 86_400_000 - 15_706 for segment in await segments]


TABLES = {
    "segments": Table(
        table="druid_segments",
        column="payload",
        where="start = '2013-01-01T00:00:00.000Z'",
        keys=lambda s: _segment_ids(s.used_segments()),
        good=[0, 1],
        left=[1],
        counted="druid_segments",
    ),
    "segments in an interval": Table(
        table="druid_segments",
        column="payload",
        where="start = '2013-01-01T00:00:00.000Z'",
        keys=lambda s: _segment_ids(s.used_segments_in("flights", [ETERNITY])),
        good=[0, 1],
        left=[1],
        counted="druid_segments",
    ),
    "rules": Table(
        table="druid_rules",
        column="payload",
        where="dataSource = 'a'",
        keys=_rules,
        good=(["a", "b"], []),
        left=(["b"], ["a"]),
        counted="druid_rules",
        takes_list=True,
    ),
    "config": Table(
        table="druid_config",
        column="payload",
        where="name = 'c'",
        keys=_config,
        good={"x": 1},
        left="unreadable",
        counted="druid_config",
        takes_objects=True,
    ),
    "audit": Table(
        table="druid_audit",
        column="payload",
        where="audit_key = 'c'",
        keys=lambda s: _keys_of_audit(s),
        good=["b", "a", "c"],
        left=["b", "a"],
        counted="druid_audit",
        takes_json=True,
    ),
    "active task": Table(
        table="druid_tasks",
        column="payload",
        where="id = 'a1'",
        keys=lambda s: _task_ids(s.active_tasks()),
        good=["a1", "a2"],
        left=["a2"],
        counted="druid_tasks",
        takes_objects=True,
    ),
    "status of an active task": Table(
        table="druid_tasks",
        column="status_payload",
        where="id = 'a1'",
        keys=lambda s: _task_ids(s.active_tasks()),
        good=["a1", "a2"],
        left=["a2"],
        counted="druid_tasks.status_payload",
        takes_objects=True,
    ),
    "ended task": Table(
        table="druid_tasks",
        column="payload",
        where="id = 'e1'",
        keys=lambda s: _task_ids(s.ended_tasks(10)),
        good=["e1", "e2"],
        left=["e2"],
        counted="druid_tasks",
        takes_objects=True,
    ),
    "lock": Table(
        table="druid_tasklocks",
        column="lock_payload",
        where="task_id = 'a1'",
        keys=lambda s: _lock_holders(s),
        good=["a1", "a2"],
        left=["a2"],
        counted="druid_tasklocks",
    ),
}


async def _task_ids(rows: Awaitable[list[TaskRow]]) -> list[str]:
    return [row.id for row in await rows]


async def _lock_holders(store: SqlMetadataStore) -> list[str]:
    return [lock.task_id for lock in await store.locks()]


async def _keys_of_audit(store: SqlMetadataStore) -> list[str]:
    return [entry.key for entry in [*await store.audit_entries("rules"), *await store.audit_entries("config")]]


@pytest.fixture
async def filled(store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: Make) -> SqlMetadataStore:
    """Two of everything."""
    for task_id in ("a1", "a2", "e1", "e2"):
        row = TaskRow(
            id=task_id,
            data_source="flights",
            type="noop",
            group_id=task_id,
            created_date="2024-01-01T00:00:00.000Z",
            payload={"id": task_id, "type": "noop"},
            status={"id": task_id, "status": "RUNNING"},
        )
        await store.insert_task(overlord, row)
        if task_id.startswith("a"):
            await store.begin_attempt(overlord, task_id, "w:1")
            await store.add_lock(overlord, task_id, LOCK.to_json(), [])
        else:
            await store.end_task(overlord, task_id, {"id": task_id, "status": "SUCCESS"})
    segments = [make_segment(1), make_segment(2)]
    await store.publish_segments(overlord, Publication(task_id="a2", attempt=1, segments=segments))
    for name in ("a", "b"):
        await store.set_rules(overlord, name, [{"type": "loadForever"}], Audit())
    await store.set_config(overlord, "c", {"x": 1}, Audit())
    return store


async def spoil(store: SqlMetadataStore, overlord: LeaderEpoch, table: Table, payload: bytes) -> None:
    statement = f"UPDATE {table.table} SET {table.column} = ? WHERE {table.where}"
    assert (await store._write(overlord, lambda c: c.execute(statement, (payload,)).rowcount)) == 1


def _is_readable(table: Table, kind: str) -> bool:
    """Whether the payload is a legal one in this table."""
    if table.takes_json:
        return kind in ("null", "an array", "a number", "a string", "an odd object")
    return (table.takes_objects and kind == "an odd object") or (table.takes_list and kind == "an array")


@pytest.mark.parametrize("opening", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("name", TABLES)
async def test_a_broken_row_is_passed_over_named_once_and_counted(
    filled: SqlMetadataStore, overlord: LeaderEpoch, name: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    table, found = TABLES[name], list[str]()
    filled.unreadable.on_found = found.append
    assert await table.keys(filled) == table.good
    await spoil(filled, overlord, table, BROKEN[kind])
    if _is_readable(table, kind):
        await table.keys(filled)
        assert found == []
        return
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await table.keys(filled) == table.left
    assert len([r for r in caplog.records if "is passed over" in r.message]) == 1
    assert found == [table.counted]
    assert filled.unreadable.counts() == {table.counted: 1}


async def test_a_row_of_each_table_may_be_broken_at_the_same_time_in_every_database(
    filled: SqlMetadataStore, overlord: LeaderEpoch
) -> None:
    for table in TABLES.values():
        await spoil(filled, overlord, table, BROKEN["brackets"])
    for table in TABLES.values():
        assert await table.keys(filled) == table.left
    assert sorted(filled.unreadable.counts()) == sorted({table.counted for table in TABLES.values()})


async def test_a_row_that_was_repaired_is_read_and_one_that_breaks_anew_is_named_anew(
    filled: SqlMetadataStore, overlord: LeaderEpoch
) -> None:
    found: list[str] = []
    filled.unreadable.on_found = found.append
    table = TABLES["rules"]
    for payload, seen in ((b"{", table.left), (b"[]", table.good), (b"{", table.left), (b"x", table.left)):
        await spoil(filled, overlord, table, payload)
        assert await table.keys(filled) == seen
    assert found == ["druid_rules"] * 3


async def test_a_lock_that_cannot_be_read_covers_nothing_and_stops_nobody(
    filled: SqlMetadataStore, overlord: LeaderEpoch, make_segment: Make
) -> None:
    await spoil(filled, overlord, TABLES["lock"], b"[")
    (row_id,) = [
        row[0]
        for row in await filled._database.read(
            lambda c: c.execute("SELECT id FROM druid_tasklocks WHERE task_id = 'a1'").fetchall()
        )
    ]
    assert await filled.add_lock(overlord, "a2", LOCK.to_json(), [row_id]) is not None
    publication = Publication(task_id="a1", attempt=1, segments=[make_segment(3)])
    with pytest.raises(PublishRefusedError, match="holds no lock"):
        await filled.publish_segments(overlord, publication)
    assert await filled.publish_segments(overlord, attrs.evolve(publication, task_id="a2"))


async def test_a_status_that_cannot_be_read_does_not_keep_a_task_from_publishing(
    filled: SqlMetadataStore, overlord: LeaderEpoch, make_segment: Make
) -> None:
    await spoil(filled, overlord, TABLES["status of an active task"], b"[")
    publication = Publication(task_id="a1", attempt=1, segments=[make_segment(3)])
    assert await filled.publish_segments(overlord, publication)
    row = await filled.task("a1")
    assert row is not None
    assert row.published


async def test_a_segment_whose_columns_are_no_times_keeps_no_interval_from_being_found(
    filled: SqlMetadataStore, overlord: LeaderEpoch
) -> None:
    await filled.set_used_in(overlord, "flights", None, False)
    statement = "UPDATE druid_segments SET start = '0' WHERE start = '2013-01-01T00:00:00.000Z'"
    await filled._write(overlord, lambda c: c.execute(statement).rowcount)
    intervals = await filled.unused_intervals("flights", None, 253_402_300_799_999, 10)
    assert [str(interval)[:10] for interval in intervals] == ["2013-01-02"]


@pytest.mark.parametrize("text", ["a\ud800"])
async def test_a_value_that_no_database_holds_is_the_fault_of_whoever_gave_it(
    store: SqlMetadataStore, overlord: LeaderEpoch, text: str
) -> None:
    for asked in (lambda: store.task(text), lambda: store.set_used_in(overlord, text, None, True)):
        with pytest.raises(UnstorableValueError):
            await asked()
    assert await store.active_tasks() == []
