"""Segments in the store: publishing all or nothing, what is used, versions and intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from druidroles.metadata import (
    LeaderEpoch,
    Publication,
    PublishRefusedError,
    StaleEpochError,
    TaskRow,
)
from druidroles.metadata.sql_store import SqlMetadataStore
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock

MakeSegment = Callable[..., DataSegment]
JANUARY = Interval.parse("2013-01-01/2013-02-01")
VERSION = "2024-01-01T00:00:00.000Z"


async def running_task(store: SqlMetadataStore, leader: LeaderEpoch, lock: TaskLock | None = None) -> int:
    """A task `t` on its first attempt, holding a lock."""
    row = TaskRow(
        id="t",
        data_source="flights",
        type="index_parallel",
        group_id="t",
        created_date=VERSION,
        payload={"id": "t"},
        status={},
    )
    assert await store.insert_task(leader, row)
    lock = lock or TaskLock("t", "flights", JANUARY, VERSION)
    await store.add_lock(leader, "t", lock.to_json(), [])
    attempt = await store.begin_attempt(leader, "t", "127.0.0.1:8091")
    assert attempt == 1
    return attempt


async def test_a_published_segment_comes_back_as_it_was(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    attempt = await running_task(store, overlord)
    segments = [make_segment(2), make_segment(1)]
    inserted = await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=segments))
    assert inserted == segments
    used = await store.used_segments()
    assert [s.to_json() for s in used] == [make_segment(1).to_json(), make_segment(2).to_json()]
    assert await store.segment(segments[0].id) == (segments[0], True)
    assert await store.segment("nothing") is None


async def test_asking_again_publishes_nothing_twice(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    attempt = await running_task(store, overlord)
    publication = Publication(task_id="t", attempt=attempt, segments=[make_segment(1)])
    await store.publish_segments(overlord, publication)
    assert await store.publish_segments(overlord, publication) == []
    assert len(await store.used_segments()) == 1


async def test_that_a_task_has_published_is_noted_with_it(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    """In the same transaction; the rest of its status stays, and a refused publication notes nothing."""
    attempt = await running_task(store, overlord)
    before = await store.task("t")
    with pytest.raises(PublishRefusedError):
        await store.publish_segments(overlord, Publication(task_id="t", attempt=9, segments=[make_segment(1)]))
    assert before is not None
    assert await store.task("t") == before
    assert not before.published
    await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=[make_segment(1)]))
    after = await store.task("t")
    assert after is not None
    assert after.published
    assert {**after.status, "coord": None} == {**before.status, "coord": None}


@pytest.mark.parametrize(
    ("lock", "reason"),
    [
        (TaskLock("t", "flights", Interval.parse("2013-01-01/2013-01-02"), VERSION), "no lock that covers"),
        (TaskLock("t", "other", JANUARY, VERSION), "no lock that covers"),
        (TaskLock("t", "flights", JANUARY, "2023-01-01T00:00:00.000Z"), "no lock that covers"),
        (TaskLock("t", "flights", JANUARY, VERSION, revoked=True), "no lock that covers"),
    ],
)
async def test_without_a_lock_on_every_segment_none_is_published(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment, lock: TaskLock, reason: str
) -> None:
    attempt = await running_task(store, overlord, lock)
    publication = Publication(task_id="t", attempt=attempt, segments=[make_segment(1), make_segment(2)])
    with pytest.raises(PublishRefusedError, match=reason):
        await store.publish_segments(overlord, publication)
    assert await store.used_segments() == []


async def test_a_superseded_attempt_and_an_ended_task_publish_nothing(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    first = await running_task(store, overlord)
    second = await store.begin_attempt(overlord, "t", "127.0.0.1:8191")
    assert second == 2
    with pytest.raises(PublishRefusedError, match="superseded"):
        await store.publish_segments(overlord, Publication(task_id="t", attempt=first, segments=[make_segment(1)]))
    assert await store.end_task(overlord, "t", {"status": "FAILED"})
    with pytest.raises(PublishRefusedError, match="has ended"):
        await store.publish_segments(overlord, Publication(task_id="t", attempt=second, segments=[make_segment(1)]))
    with pytest.raises(PublishRefusedError, match="unknown"):
        await store.publish_segments(overlord, Publication(task_id="u", attempt=1, segments=[make_segment(1)]))
    assert await store.begin_attempt(overlord, "t", "127.0.0.1:8091") is None
    assert await store.used_segments() == []


async def test_a_deposed_leader_is_refused_everywhere(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    attempt = await running_task(store, overlord)
    newer = attrs.evolve(overlord, epoch=overlord.epoch + 1)
    await store.raise_epoch(newer)
    with pytest.raises(StaleEpochError) as caught:
        await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=[make_segment(1)]))
    assert (caught.value.epoch, caught.value.held) == (7, 8)
    with pytest.raises(StaleEpochError):
        await store.raise_epoch(overlord)
    with pytest.raises(StaleEpochError):
        await store.end_task(overlord, "t", {})
    with pytest.raises(StaleEpochError):
        await store.set_used(overlord, [make_segment(1).id], False)
    assert await store.epochs() == {"overlord": 8}
    assert await store.used_segments() == []
    task = await store.task("t")
    assert task is not None
    assert task.active


async def test_the_epochs_of_two_roles_do_not_meet(store: SqlMetadataStore, overlord: LeaderEpoch) -> None:
    coordinator = LeaderEpoch(role="coordinator", epoch=3)
    with pytest.raises(StaleEpochError):
        await store.set_used(coordinator, ["x"], False)
    await store.raise_epoch(coordinator)
    assert await store.set_used(coordinator, ["x"], False) == 0
    assert await store.epochs() == {"coordinator": 3, "overlord": 7}


async def test_marking_and_deleting(store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment) -> None:
    attempt = await running_task(store, overlord)
    segments = [make_segment(day) for day in range(1, 6)]
    await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=segments))
    ids = [s.id for s in segments]
    assert await store.delete_segments(overlord, ids) == 0
    assert await store.set_used(overlord, [*ids[:2], "unknown"], False) == 2
    assert await store.set_used(overlord, ids[:2], False) == 0
    assert await store.used_segments() == segments[2:]
    assert await store.set_used_in(overlord, "flights", Interval.parse("2013-01-04/2013-01-06"), False) == 2
    assert await store.unused_segments_in("flights", JANUARY) == [segments[0], segments[1], segments[3], segments[4]]
    assert await store.delete_segments(overlord, ids) == 4
    assert await store.set_used_in(overlord, "flights", None, False) == 1
    assert await store.set_used_in(overlord, "flights", None, True) == 1
    assert await store.used_segments() == [segments[2]]


async def test_intervals_and_the_newest_version(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    attempt = await running_task(store, overlord)
    newer = "2024-06-01T00:00:00.000Z"
    await store.add_lock(overlord, "t", TaskLock("t", "flights", ETERNITY, newer).to_json(), [])
    everything = attrs.evolve(make_segment(1, newer), interval=ETERNITY)
    segments = [make_segment(1), make_segment(2), everything]
    await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=segments))

    async def found(text: str) -> set[str]:
        return {s.id for s in await store.used_segments_in("flights", [Interval.parse(text)])}

    assert await found("2013-01-01T12/2013-01-01T13") == {segments[0].id, everything.id}
    assert await found("2013-01-02/2013-01-03") == {segments[1].id, everything.id}
    assert await found("2020-01-01/2020-01-02") == {everything.id}
    assert len(await store.used_segments_in("flights", [ETERNITY])) == 3
    assert await store.used_segments_in("other", [ETERNITY]) == []
    assert await store.newest_version("flights", JANUARY) == newer
    assert await store.set_used_in(overlord, "flights", JANUARY, False) == 2
    assert await store.newest_version("flights", Interval.parse("2013-01-01/2013-01-02")) == newer
    assert await store.newest_version("other", JANUARY) is None


async def test_what_has_long_been_unused_is_found_by_its_end_and_since_when(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    attempt = await running_task(store, overlord)
    first, second, third = (make_segment(day) for day in (1, 2, 3))
    publication = Publication(task_id="t", attempt=attempt, segments=[third, first, second])
    await store.publish_segments(overlord, publication)
    assert await store.data_sources_with_unused() == []
    await store.set_used(overlord, [first.id, second.id, third.id], False)
    assert await store.data_sources_with_unused() == ["flights"]
    forever_ms = 4_000_000_000_000
    intervals = [segment.interval for segment in (first, second, third)]
    assert await store.unused_intervals("flights", None, forever_ms, 10) == intervals
    assert await store.unused_intervals("flights", None, forever_ms, 2) == intervals[:2]
    assert await store.unused_intervals("flights", second.interval.end_ms, forever_ms, 10) == intervals[:2]
    assert await store.unused_intervals("flights", None, 1_600_000_000_000, 10) == []
    assert await store.unused_intervals("other", None, forever_ms, 10) == []
    await store.set_used(overlord, [first.id], True)
    assert await store.unused_intervals("flights", None, forever_ms, 10) == intervals[1:]


async def test_a_scan_sees_one_instant_and_keeps_what_is_known(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("druidroles.metadata.sql_store.PAGE_ROWS", 2)
    attempt = await running_task(store, overlord)
    segments = [make_segment(day) for day in range(1, 8)]
    await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=segments))
    mine = make_segment(3)
    pages = 0
    original = store._parse_page

    async def parse_then_change(*arguments: Any) -> None:
        nonlocal pages
        pages += 1
        await original(*arguments)
        if pages == 1:
            await store.set_used(overlord, [s.id for s in segments], False)

    monkeypatch.setattr(store, "_parse_page", parse_then_change)
    seen = await store.used_segments({mine.id: mine})
    assert seen == segments
    assert seen[2] is mine
    assert pages == 4
    assert await store.used_segments() == []


async def test_a_payload_with_garbage_is_skipped(
    store: SqlMetadataStore, overlord: LeaderEpoch, make_segment: MakeSegment
) -> None:
    attempt = await running_task(store, overlord)
    segments = [make_segment(1), make_segment(2)]
    await store.publish_segments(overlord, Publication(task_id="t", attempt=attempt, segments=segments))
    await store._database.write(
        "overlord", lambda c: c.execute("UPDATE druid_segments SET payload = ? WHERE id = ?", (b"{", segments[0].id))
    )
    assert await store.used_segments() == [segments[1]]
    assert await store.used_segments_in("flights", [JANUARY]) == [segments[1]]


async def test_two_processes_may_open_a_new_store_at_once(opening: Any) -> None:
    leaders = [LeaderEpoch(role=f"role{n}", epoch=n) for n in range(4)]

    async def use(leader: LeaderEpoch) -> None:
        async with opening() as opened:
            await opened.raise_epoch(leader)

    async with trio.open_nursery() as nursery:
        for leader in leaders:
            nursery.start_soon(use, leader)
    async with opening() as opened:
        assert await opened.epochs() == {leader.role: leader.epoch for leader in leaders}
