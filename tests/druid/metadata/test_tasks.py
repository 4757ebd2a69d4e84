"""Tasks, locks, rules, and configuration."""

from __future__ import annotations

from typing import Any

import pytest

from druidroles.metadata import (
    Audit,
    LeaderEpoch,
    StaleEpochError,
    StoredRules,
    TaskRow,
)
from druidroles.metadata.sql_store import SqlMetadataStore
from druidroles.model.interval import Interval
from druidroles.model.task import TaskLock


def task(task_id: str, created: str) -> TaskRow:
    return TaskRow(
        id=task_id,
        data_source="flights",
        type="noop",
        group_id=task_id,
        created_date=created,
        payload={"id": task_id, "type": "noop"},
        status={"status": "RUNNING"},
    )


async def test_a_task_from_submission_to_its_end(store: SqlMetadataStore, overlord: LeaderEpoch) -> None:
    first, second = task("b", "2024-01-01T00:00:00.000Z"), task("a", "2024-01-02T00:00:00.000Z")
    assert await store.insert_task(overlord, second)
    assert await store.insert_task(overlord, first)
    assert not await store.insert_task(overlord, first)
    assert await store.active_tasks() == [first, second]
    assert await store.begin_attempt(overlord, "b", "w:1") == 1
    assert await store.begin_attempt(overlord, "b", "w:2") == 2
    row = await store.task("b")
    assert row is not None
    assert (row.attempt, row.worker) == (2, "w:2")
    assert await store.end_task(overlord, "b", {"status": "SUCCESS"})
    assert not await store.end_task(overlord, "b", {"status": "FAILED"})
    assert await store.active_tasks() == [second]
    (ended,) = await store.ended_tasks(10)
    assert (ended.id, ended.status, ended.active) == ("b", {"status": "SUCCESS"}, False)
    assert await store.task("nothing") is None


def lock(version: str) -> dict[str, Any]:
    return TaskLock("group", "flights", Interval.parse("2013/2014"), version).to_json()


async def test_locks_are_granted_revoked_and_dropped_with_their_task(
    store: SqlMetadataStore, overlord: LeaderEpoch
) -> None:
    await store.insert_task(overlord, task("a", "2024-01-01T00:00:00.000Z"))
    await store.insert_task(overlord, task("b", "2024-01-01T00:00:00.000Z"))
    one = await store.add_lock(overlord, "a", lock("1"), [])
    assert one is not None
    two = await store.add_lock(overlord, "b", lock("2"), [one, 999])
    three = await store.add_lock(overlord, "a", lock("3"), [])
    assert [(held.row_id, held.task_id, held.lock["revoked"]) for held in await store.locks()] == [
        (one, "a", True),
        (two, "b", False),
        (three, "a", False),
    ]
    assert three is not None
    await store.remove_locks(overlord, [three])
    await store.end_task(overlord, "a", {"status": "SUCCESS"})
    assert await store.add_lock(overlord, "a", lock("4"), [two or 0]) is None
    assert [held.row_id for held in await store.locks()] == [two]


async def test_the_newest_rules_count_and_changes_are_audited(store: SqlMetadataStore, overlord: LeaderEpoch) -> None:
    assert await store.rules() == StoredRules()
    audit = Audit(author="ann", comment="because")
    await store.set_rules(overlord, "_default", [{"type": "loadForever"}], Audit())
    await store.set_rules(overlord, "flights", [{"type": "dropForever"}], Audit())
    await store.set_rules(overlord, "flights", [{"type": "loadByPeriod", "period": "P1D"}], audit)
    rules = {"_default": [{"type": "loadForever"}], "flights": [{"type": "loadByPeriod", "period": "P1D"}]}
    assert await store.rules() == StoredRules(rules=rules)
    entries = await store.audit_entries("rules", "flights")
    assert [e.payload for e in entries] == [[{"type": "loadByPeriod", "period": "P1D"}], [{"type": "dropForever"}]]
    assert (entries[0].author, entries[0].comment) == ("ann", "because")
    assert len(await store.audit_entries("rules", limit=2)) == 2


async def test_configuration(store: SqlMetadataStore, overlord: LeaderEpoch) -> None:
    assert await store.config("coordinator.config") is None
    await store.set_config(overlord, "coordinator.config", {"maxSegmentsToMove": 5}, Audit())
    await store.set_config(overlord, "coordinator.config", {"maxSegmentsToMove": 6}, Audit())
    assert await store.config("coordinator.config") == {"maxSegmentsToMove": 6}
    with pytest.raises(StaleEpochError):
        await store.set_config(LeaderEpoch(role="overlord", epoch=6), "coordinator.config", {}, Audit())
    assert len(await store.audit_entries("config")) == 2


async def test_what_was_written_is_there_after_a_restart(opening: Any, overlord: LeaderEpoch) -> None:
    async with opening() as store:
        await store.raise_epoch(overlord, "http://127.0.0.1:8090")
        await store.insert_task(overlord, task("a", "2024-01-01T00:00:00.000Z"))
    async with opening() as store:
        assert [row.id for row in await store.active_tasks()] == ["a"]
        await store.raise_epoch(overlord)
        with pytest.raises(StaleEpochError):
            await store.raise_epoch(LeaderEpoch(role="overlord", epoch=6))
