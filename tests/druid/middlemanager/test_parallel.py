"""A parallel ingestion: sub-tasks that are tasks of their own, complete sets of partitions, one publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from indexing import ended, index_spec, noop, until
from indexing_service import CSV, Service, done, middle_manager, rows, service, used

from druidroles.middlemanager.parallel_task import renumbered
from druidroles.middlemanager.toolbox import TaskFailedError
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import is_complete, numbered

API = "/druid/indexer/v1"
DAY = Interval.parse("2013-01-01/2013-01-02")

pytestmark = pytest.mark.real  # several processes a test


def parallel(base_dir: Path, sub_tasks: int = 2, **more: Any) -> dict[str, Any]:
    granularity = more.pop("granularity", {})
    task = index_spec(base_dir, **granularity)
    task["spec"]["tuningConfig"] = {
        "type": "index_parallel",
        "maxNumConcurrentSubTasks": sub_tasks,
        "taskStatusCheckPeriodMs": 50,
        "splitHintSpec": {"type": "maxSize", "maxNumFiles": 1},
        **more,
    }
    return task


def write_pieces(on: Service, count: int) -> None:
    for number in range(1, count):
        (on.directory / "input" / f"more-{number}.csv").write_text(CSV.replace("UA", f"U{number}"))


async def tasks_of_type(on: Service, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await on.overlord.get(f"{API}/tasks?type={kind}")).json()
    return found


@pytest.mark.parametrize("granularity", [{}, {"intervals": ["2013-01-01/2013-01-03"]}])
async def test_sub_tasks_build_and_their_supervisor_publishes(tmp_path: Path, granularity: dict[str, Any]) -> None:
    """With and without intervals: one version a time chunk, partitions from 0 on, and nothing missing."""
    async with service(tmp_path, capacity=4) as on:
        write_pieces(on, 3)
        status = await done(on, parallel(tmp_path / "input", 3, granularity=granularity))
        segments = await used(on)
        chunks: dict[Interval, list[DataSegment]] = {}
        for segment in segments:
            chunks.setdefault(segment.interval, []).append(segment)
        days = ["2013-01-01", "2013-01-02"] + ([] if granularity else ["2013-01-04"])
        assert [str(interval)[:10] for interval in chunks] == days
        for partitions in chunks.values():
            assert len({segment.version for segment in partitions}) == 1
            assert [segment.partition_num for segment in partitions] == [0, 1, 2]
            assert {segment.shard_spec.core_partitions for segment in partitions} == {3}
            assert is_complete([segment.shard_spec for segment in partitions])
        found = rows(segments)
        assert len(found) == 3 * (3 if granularity else 4)
        assert {carrier for _, carrier, _ in found} >= {"UA", "U1", "U2"}  # no piece has taken another's place
        subs = await tasks_of_type(on, "single_phase_sub_task")
        assert [one["statusCode"] for one in subs] == ["SUCCESS"] * 3
        assert {one["groupId"] for one in subs} == {status["groupId"]}
        report = (await on.overlord.get(f"{API}/task/{status['id']}/reports")).json()
        built = report["ingestionStatsAndErrors"]["payload"]["rowStats"]["buildSegments"]
        assert built["processed"] + built["processedWithError"] == 3 * (3 if granularity else 4)


async def test_one_file_needs_no_sub_task(tmp_path: Path) -> None:
    """As with maxNumConcurrentSubTasks 1 the work is done in the task itself."""
    async with service(tmp_path, capacity=1) as on:
        await done(on, parallel(tmp_path / "input", 5))
        assert len(await used(on)) == 3
        assert await tasks_of_type(on, "single_phase_sub_task") == []


@pytest.mark.parametrize("slots", [1, 2])
async def test_supervisors_never_wait_for_slots_that_they_hold(tmp_path: Path, slots: int) -> None:
    """With one slot they build all pieces themselves, one after the other; with more, one is left to sub-tasks."""
    async with service(tmp_path, capacity=slots) as on:
        write_pieces(on, 2)
        ids = []
        for number in range(2):
            task = parallel(tmp_path / "input")
            task["spec"]["dataSchema"]["dataSource"] = f"flights{number}"
            ids.append((await on.overlord.post(f"{API}/task", task)).json()["task"])
        for task_id in ids:
            status = await ended(on.overlord, task_id)
            assert status["statusCode"] == "SUCCESS", status["errorMsg"]
        assert len(rows(await used(on))) == 16
        assert len(await tasks_of_type(on, "single_phase_sub_task")) == (0 if slots == 1 else 4)


async def test_a_failed_sub_task_is_replaced(tmp_path: Path) -> None:
    """Its process is killed; the segments are complete all the same, each row once."""
    async with service(tmp_path, capacity=2) as on:
        write_pieces(on, 2)
        task_id = (await on.overlord.post(f"{API}/task", parallel(tmp_path / "input"))).json()["task"]

        async def sub_process() -> Any:
            running = on.worker.role.processes.values()
            return next((one.process for one in running if one.announcement.id != task_id and one.process), None)

        (await until(sub_process)).kill()
        status = await ended(on.overlord, task_id)
        assert status["statusCode"] == "SUCCESS", status["errorMsg"]
        assert len(rows(await used(on))) == 8
        codes = sorted(one["statusCode"] for one in await tasks_of_type(on, "single_phase_sub_task"))
        assert codes == ["FAILED", "SUCCESS", "SUCCESS"]


async def test_a_piece_that_always_fails_fails_the_task(tmp_path: Path) -> None:
    """After maxRetry more tries; nothing is published, and the message is the sub-task's."""
    async with service(tmp_path, capacity=3) as on:
        (tmp_path / "input" / "bad.csv").write_text("time,time\n2013-01-01T00:00:00Z,x\n")
        status = await done(on, parallel(tmp_path / "input", maxRetry=1), "FAILED")
        assert "piece 0 failed 2 times" in status["errorMsg"]
        assert await used(on) == []

        async def ended_all() -> bool:
            return (await on.overlord.get(f"{API}/tasks?state=running")).json() == []

        await until(ended_all)


async def test_sub_tasks_end_with_their_supervisor(tmp_path: Path) -> None:
    """Shut down: what waits for a slot and what runs is ended by the Overlord."""
    async with service(tmp_path, capacity=2) as on:
        write_pieces(on, 4)
        task = parallel(tmp_path / "input", 4)
        task["spec"]["dataSchema"]["granularitySpec"]["intervals"] = ["2013-01-01/2013-01-03"]
        task_id = (await on.overlord.post(f"{API}/task", task)).json()["task"]

        async def submitted() -> bool:
            return len(await tasks_of_type(on, "single_phase_sub_task")) == 4

        await until(submitted)
        await on.overlord.post(f"{API}/task/{task_id}/shutdown")

        async def over() -> bool:
            return on.worker.role.processes == {} and on.overlord.role.leading.tasks == {}

        await until(over)
        failed = [one for one in await tasks_of_type(on, "single_phase_sub_task") if one["statusCode"] == "FAILED"]
        assert failed
        assert {one["errorMsg"] for one in failed} == {"its supervisor task has ended"}
        assert await used(on) == []


async def test_a_supervisor_that_begins_anew_begins_with_new_sub_tasks(tmp_path: Path) -> None:
    """Its worker was restarted; those that it had submitted before are ended, so nothing is built for nobody."""
    async with service(tmp_path, capacity=2) as on:
        write_pieces(on, 2)
        await on.overlord.post(f"{API}/task", noop(60_000))  # has the slot that they wait for
        task_id = (await on.overlord.post(f"{API}/task", parallel(tmp_path / "input"))).json()["task"]

        async def submitted() -> Any:
            waiting = await tasks_of_type(on, "single_phase_sub_task")
            return len(waiting) == 2 and [one["id"] for one in waiting]

        old = await until(submitted)
        on.worker.scope.cancel(reason="the worker is restarted")
        await on.worker.ended.wait()
        port = int(on.worker.context.host_port.rpartition(":")[2])
        async with middle_manager(on.worker.context.settings.coord.hosts, tmp_path, 3, port):
            status = await ended(on.overlord, task_id)
            assert status["statusCode"] == "SUCCESS", status["errorMsg"]
        assert len(rows(await used(on))) == 8
        codes = {one["id"]: one["statusCode"] for one in await tasks_of_type(on, "single_phase_sub_task")}
        assert [codes.pop(one) for one in old] == ["FAILED", "FAILED"]
        assert list(codes.values()) == ["SUCCESS", "SUCCESS"]


async def test_issue_10206_a_sub_task_over_the_limit_fails_its_supervisor(tmp_path: Path) -> None:
    """The names of a piece's files do not fit into an assignment; the supervisor says so, and how large it is."""
    async with service(tmp_path, capacity=2) as on:
        directory = tmp_path / "input" / ("d" * 200)
        make_files(directory, 1601)
        status = await done(on, parallel(directory, splitHintSpec={"maxNumFiles": 1600}, maxRetry=0), "FAILED")
        assert "a sub-task is refused: the task has" in status["errorMsg"]
        log = (await on.overlord.get(f"{API}/task/{status['id']}/log")).text
        assert "over the limit of 524288" in log


def make_files(directory: Path, count: int) -> None:
    directory.mkdir()
    for number in range(count):
        (directory / f"{number}-{'x' * 220}.csv").write_text(CSV)


@pytest.mark.parametrize(
    ("tuning", "named"),
    [
        ({"maxNumConcurrentSubTasks": 0}, "maxNumConcurrentSubTasks"),
        ({"maxNumConcurrentSubTasks": 5000}, "maxNumConcurrentSubTasks"),
        ({"maxRetry": -1}, "maxRetry"),
        ({"splitHintSpec": {"type": "segments"}}, "splitHintSpec"),
        ({"splitHintSpec": {"type": "maxSize", "maxNumFiles": "many"}}, "maxNumFiles"),
    ],
)
async def test_a_bad_tuning_is_refused_by_name(tmp_path: Path, tuning: dict[str, Any], named: str) -> None:
    """Before anything is stored."""
    async with service(tmp_path) as on:
        response = await on.overlord.post(f"{API}/task", parallel(tmp_path / "input", **tuning))
        assert response.status_code == 400
        assert named in response.json()["errorMessage"]
        assert (await on.overlord.get(f"{API}/tasks")).json() == []


def test_partitions_are_numbered_by_chunk() -> None:
    """In the order of their pieces; the ids change with the numbers, the files stay where they are."""
    pushed = [
        DataSegment("flights", DAY, "v", {"path": str(n)}, shard_spec=numbered(n, 0)) for n in (150_000, 50_000, 50_001)
    ]
    made = renumbered(pushed)
    assert [segment.id.rpartition("_v")[2] for segment in made] == ["", "_1", "_2"]
    assert [(segment.load_spec or {})["path"] for segment in made] == ["50000", "50001", "150000"]
    assert {segment.shard_spec.core_partitions for segment in made} == {3}
    with pytest.raises(TaskFailedError, match="more than one version"):
        renumbered([*pushed, DataSegment("flights", DAY, "w", shard_spec=numbered(0, 0))])
