"""Compaction and deletion of segments, from the task's submission to deep storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from indexing import index_spec, noop
from indexing_service import Service, done, rows, service, used

from druidroles.metadata import LeaderEpoch, open_sqlite_store
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment

API = "/druid/indexer/v1"


def compact(interval: str, **more: Any) -> dict[str, Any]:
    io = {"type": "compact", "inputSpec": {"type": "interval", "interval": interval}}
    return {"type": "compact", "dataSource": "flights", "ioConfig": io, **more}


def kill(interval: str) -> dict[str, Any]:
    return {"type": "kill", "dataSource": "flights", "interval": interval}


async def mark_unused(on: Service, interval: str | None = None) -> None:
    """As the Coordinator does."""
    coordinator = LeaderEpoch(role="coordinator", epoch=1)
    async with open_sqlite_store(on.directory / "metadata.sqlite") as store:
        await store.raise_epoch(coordinator)
        await store.set_used_in(coordinator, "flights", None if interval is None else Interval.parse(interval), False)


def has_file(segment: DataSegment) -> bool:
    return Path((segment.load_spec or {})["path"]).exists()


async def test_days_become_a_month(tmp_path: Path) -> None:
    """All rows are there, in one segment of a newer version."""
    async with service(tmp_path) as on:
        await done(on, index_spec(tmp_path / "input"))
        before = await used(on)
        month = {"segmentGranularity": "MONTH"}
        await done(on, compact("2013-01-01/2013-02-01", granularitySpec=month))
        (made,) = [segment for segment in await used(on) if segment not in before]
        assert str(made.interval)[:10] == "2013-01-01"
        assert made.interval.end_ms == Interval.parse("2013-01-01/2013-02-01").end_ms
        assert made.version > max(segment.version for segment in before)
        assert (made.dimensions, rows([made])) == (("carrier", "delay"), rows(before))


async def test_only_what_shows_is_rewritten(tmp_path: Path) -> None:
    """A day was ingested again: its older rows are overshadowed. The time chunks stay as they are."""
    async with service(tmp_path) as on:
        await done(on, index_spec(tmp_path / "input"))
        (tmp_path / "input" / "flights.csv").write_text("time,carrier,delay\n2013-01-02T05:00:00Z,ZZ,9\n")
        await done(on, index_spec(tmp_path / "input", intervals=["2013-01-02/2013-01-03"]))
        before = await used(on)
        await done(on, compact("2013-01-01/2013-02-01", tuningConfig={"maxRowsPerSegment": 1}))
        made = [segment for segment in await used(on) if segment not in before]
        assert [(str(s.interval)[8:10], s.partition_num, s.shard_spec.core_partitions) for s in made] == [
            ("01", 0, 2),
            ("01", 1, 2),
            ("02", 0, 1),
            ("04", 0, 1),
        ]
        assert [carrier for _, carrier, _ in rows(made)] == ["UA", "AA", "ZZ", "B6"]


async def test_a_month_is_rolled_up_into_days(tmp_path: Path) -> None:
    """Of the one day that the task names; the rest of the month goes on showing."""
    async with service(tmp_path) as on:
        await done(on, index_spec(tmp_path / "input", segmentGranularity="MONTH"))
        (month,) = await used(on)
        granularity = {"segmentGranularity": "DAY", "queryGranularity": "DAY", "rollup": True}
        metrics = [{"type": "count", "name": "n"}, {"type": "longSum", "name": "delay", "fieldName": "delay"}]
        task = compact("2013-01-01/2013-01-02", granularitySpec=granularity, metricsSpec=metrics)
        await done(on, {**task, "dimensionsSpec": {"dimensions": ["carrier"]}})
        (made,) = [segment for segment in await used(on) if segment != month]
        assert (made.dimensions, made.metrics) == (("carrier",), ("n", "delay"))
        assert str(made.interval)[8:10] == "01"
        hour = made.interval.start_ms // 3_600_000
        assert sorted(rows([made]), key=str) == [(hour, "AA", None), (hour, "UA", 2)]


async def test_nothing_to_compact(tmp_path: Path) -> None:
    """Druid's answer too: the task fails."""
    async with service(tmp_path) as on:
        status = await done(on, compact("2013-01-01/2013-02-01"), "FAILED")
        assert "no segments" in status["errorMsg"]


async def test_only_unused_segments_are_killed(tmp_path: Path) -> None:
    """Rows and files of those within the interval; what is used, or reaches beyond it, stays."""
    async with service(tmp_path) as on:
        await done(on, index_spec(tmp_path / "input"))
        first, second, last = await used(on)
        await mark_unused(on, "2013-01-01/2013-01-03")
        await done(on, kill("2013-01-01/2013-01-02"))
        await done(on, kill("2013-01-03/2013-02-01"))
        assert await used(on) == [last]
        assert [has_file(segment) for segment in (first, second, last)] == [False, True, True]
        async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
            assert await store.segment(first.id) is None
            assert await store.segment(second.id) is not None


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"maxUsedStatusLastUpdatedTime": "2001-01-01T00:00:00.000Z"}, [0, 1, 2]),
        ({"maxUsedStatusLastUpdatedTime": "2901-01-01T00:00:00.000Z"}, []),
        ({"versions": ["2001-01-01T00:00:00.000Z"]}, [0, 1, 2]),
        ({"versions": []}, [0, 1, 2]),
        ({"limit": 2, "batchSize": 1}, [2]),
    ],
)
async def test_a_kill_deletes_no_more_than_it_was_told_to(
    tmp_path: Path, more: dict[str, Any], kept: list[int]
) -> None:
    """Unused since an instant, of some versions, so many of them: what is left out keeps row and file."""
    async with service(tmp_path) as on:
        await done(on, index_spec(tmp_path / "input"))
        segments = await used(on)
        await mark_unused(on)
        await done(on, {**kill("2013-01-01/2013-02-01"), **more})
        async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
            left = [number for number, segment in enumerate(segments) if await store.segment(segment.id) is not None]
        assert left == kept
        assert [number for number, segment in enumerate(segments) if has_file(segment)] == kept


async def test_a_segment_that_is_used_again_keeps_its_file(tmp_path: Path) -> None:
    """It was among the unused ones when the task asked for them, and is not when they are deleted."""
    async with service(tmp_path) as on:
        await done(on, index_spec(tmp_path / "input"))
        leading = on.overlord.role.leading
        await on.overlord.post(f"{API}/task", noop(60_000, id="k", dataSource="flights"))
        segments = await used(on)
        task = {"task": {"id": "k"}}
        refused = await leading_act(on, {**task, "action": nuke(segments)})
        assert "holds no lock" in refused.json()["errorMessage"]
        lock = {"type": "lockAcquire", "lockType": "EXCLUSIVE", "interval": "2013-01-01/2013-02-01"}
        assert (await leading_act(on, {**task, "action": lock})).status_code == 200
        await mark_unused(on, "2013-01-01/2013-01-02")
        gone = await leading_act(on, {**task, "action": nuke(segments)})
        again = await leading_act(on, {**task, "action": nuke(segments)})
        assert gone.json() == again.json() == {"result": [segments[0].id]}
        assert leading.tasks.keys() == {"k"}


def nuke(segments: list[Any]) -> dict[str, Any]:
    return {"type": "segmentNuke", "segments": [segment.to_json() for segment in segments]}


async def leading_act(on: Service, body: dict[str, Any]) -> Any:
    return await on.overlord.post(f"{API}/action", body)


@pytest.mark.parametrize(
    ("task", "named"),
    [
        (compact("2013-01-01/2013-01-15", granularitySpec={"segmentGranularity": "MONTH"}), "not aligned"),
        (compact("2013-01-01/2013-01-01"), "empty"),
        (compact("nonsense"), "nonsense"),
        (compact("2013-01-01/2013-02-01", granularitySpec={"rollup": True}), "metricsSpec"),
        (compact("2013-01-01/2013-02-01", transformSpec={"filter": {"type": "selector"}}), "transformSpec"),
        (compact("2013-01-01/2013-02-01", tuningConfig={"partitionsSpec": {"type": "hashed"}}), "hashed"),
        ({"type": "compact", "dataSource": "flights", "ioConfig": {"inputSpec": {"type": "segments"}}}, "segments"),
        ({"type": "compact", "dataSource": "flights"}, "interval"),
        ({"type": "compact"}, "dataSource"),
        (kill("2013-01-01/2013-01-01"), "empty"),
        ({"type": "kill", "dataSource": "flights"}, "interval"),
        ({**kill("2013/2014"), "versions": "v1"}, "versions"),
        ({**kill("2013/2014"), "maxUsedStatusLastUpdatedTime": "yesterday"}, "maxUsedStatusLastUpdatedTime"),
        ({**kill("2013/2014"), "limit": 0}, "limit"),
        ({**kill("2013/2014"), "batchSize": 0}, "batchSize"),
        ({**kill("2013/2014"), "markAsUnused": True}, "markAsUnused"),
    ],
)
async def test_a_bad_task_is_refused_by_name(tmp_path: Path, task: dict[str, Any], named: str) -> None:
    """A 400 before anything is stored."""
    async with service(tmp_path) as on:
        response = await on.overlord.post(f"{API}/task", task)
        assert response.status_code == 400
        assert named in response.json()["errorMessage"]
        assert (await on.overlord.get(f"{API}/tasks")).json() == []
