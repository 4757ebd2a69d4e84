"""A task from its submission to its segments, with a real process, a real store and a real coordination server."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio
from indexing import ended, index_spec, noop, running, until
from indexing_service import middle_manager, service, used

from druidroles.metadata import open_sqlite_store
from druidroles.model.server import NodeRole
from druidroles.overlord.role import OverlordSettings
from druidroles.overlord.role import build as build_overlord
from druidroles.segments.format import check_segment_file


async def test_a_task_becomes_segments_in_deep_storage_and_in_the_store(tmp_path: Path) -> None:
    """Built by day, pushed, published together under one version; the report and the log can be read afterwards."""
    async with service(tmp_path) as on:
        response = await on.overlord.post("/druid/indexer/v1/task", index_spec(tmp_path / "input"))
        assert response.status_code == 200, response.text
        task_id = response.json()["task"]
        status = await ended(on.overlord, task_id)
        assert status["statusCode"] == "SUCCESS", (await on.overlord.get(f"/druid/indexer/v1/task/{task_id}/log")).text
        assert status["location"]["port"] > 0
        async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
            segments = await store.used_segments()
            assert await store.locks() == []
        assert [str(segment.interval)[:10] for segment in segments] == ["2013-01-01", "2013-01-02", "2013-01-04"]
        assert len({segment.version for segment in segments}) == 1
        rows = [check_segment_file(Path((segment.load_spec or {})["path"])) for segment in segments]
        assert rows == [2, 1, 1]
        report = (await on.overlord.get(f"/druid/indexer/v1/task/{task_id}/reports")).json()
        payload = report["ingestionStatsAndErrors"]["payload"]
        assert payload["ingestionState"] == "COMPLETED"
        built = payload["rowStats"]["buildSegments"]
        assert (built["processed"], built["processedWithError"]) == (3, 1)
        log = await on.overlord.get(f"/druid/indexer/v1/task/{task_id}/log?offset=-100")
        assert log.status_code == 200
        assert len(log.content) == 100
        # The tree is as it was before.
        paths = on.worker.context.paths
        host = on.worker.context.host_port
        assert await on.worker.zk.children(paths.tasks_of(host)) == []

        async def forgotten() -> bool:
            return await on.worker.zk.children(paths.status_of(host)) == []

        await until(forgotten)
        assert json.loads((await on.worker.zk.get(paths.coord_published)).data)["epoch"] > 0


async def test_a_second_ingestion_overshadows_the_first(tmp_path: Path) -> None:
    """The newer version is greater as a string, which is how versions are compared."""
    async with service(tmp_path) as on:
        versions = []
        for _ in range(2):
            task = index_spec(tmp_path / "input", intervals=["2013-01-01/2013-01-03"])
            task_id = (await on.overlord.post("/druid/indexer/v1/task", task)).json()["task"]
            assert (await ended(on.overlord, task_id))["statusCode"] == "SUCCESS"
            async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
                versions.append(max(segment.version for segment in await store.used_segments()))
                intervals = {str(segment.interval)[:10] for segment in await store.used_segments()}
            assert intervals == {"2013-01-01", "2013-01-02"}
        assert versions[0] < versions[1]


async def test_a_bad_spec_is_refused_by_name(tmp_path: Path) -> None:
    """A 400 with Druid's error body, and nothing is stored."""
    changes: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
        ("inputSource", lambda spec: spec["ioConfig"].update(inputSource={"type": "s3"})),
        ("timestampSpec", lambda spec: spec["dataSchema"].pop("timestampSpec")),
        ("appendToExisting", lambda spec: spec["ioConfig"].update(appendToExisting=True)),
    ]
    async with service(tmp_path) as on:
        for named, change in changes:
            task = index_spec(tmp_path / "input")
            change(task["spec"])
            response = await on.overlord.post("/druid/indexer/v1/task", task)
            assert response.status_code == 400
            assert named in response.json()["errorMessage"]
        assert (await on.overlord.get("/druid/indexer/v1/tasks")).json() == []


async def test_a_task_that_fails_says_why(tmp_path: Path) -> None:
    """The message of the process is the task's; its log has it too."""
    async with service(tmp_path) as on:
        task = index_spec(tmp_path / "nowhere")
        task_id = (await on.overlord.post("/druid/indexer/v1/task", task)).json()["task"]
        status = await ended(on.overlord, task_id)
        assert status["statusCode"] == "FAILED"
        assert "there is no directory" in status["errorMsg"]
        assert "there is no directory" in (await on.overlord.get(f"/druid/indexer/v1/task/{task_id}/log")).text


async def test_a_task_outlives_the_overlord_that_assigned_it(tmp_path: Path) -> None:
    """It waits while nobody leads, gets its lock from the next Overlord, and is published by it, once."""
    async with service(tmp_path) as on:
        task_id = (await on.overlord.post("/druid/indexer/v1/task", index_spec(tmp_path / "input"))).json()["task"]

        async def claimed() -> bool:
            return task_id in on.worker.role.processes

        await until(claimed)
        on.overlord.scope.cancel(reason="the Overlord is stopped")
        build_next = partial(build_overlord, settings=OverlordSettings(metadata=tmp_path / "metadata.sqlite"))
        server = on.worker.context.settings.coord.hosts
        async with running(server, NodeRole.OVERLORD, tmp_path / "next", build_next) as o2:
            status = await ended(o2, task_id)
            assert status["statusCode"] == "SUCCESS", status
            async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
                assert len(await store.used_segments()) == 3
                row = await store.task(task_id)
                assert row is not None
                assert row.attempt == 1


async def test_a_task_that_had_published_is_not_done_again(tmp_path: Path) -> None:
    """Its process, and the worker, ended right after the publication; the next process finds that out and ends."""
    async with service(tmp_path, capacity=1) as on:
        leading = on.overlord.role.leading
        publish = leading.store.publish_segments
        published = trio.Event()

        async def publish_and_say_nothing(leader: Any, publication: Any) -> Any:
            await publish(leader, publication)
            published.set()
            await trio.sleep_forever()

        leading.store.publish_segments = publish_and_say_nothing
        task_id = (await on.overlord.post("/druid/indexer/v1/task", index_spec(tmp_path / "input"))).json()["task"]
        with trio.fail_after(30):
            await published.wait()
        on.worker.scope.cancel(reason="the worker is restarted")
        await on.worker.ended.wait()
        leading.store.publish_segments = None
        (tmp_path / "input" / "flights.csv").unlink()
        port = int(on.worker.context.host_port.rpartition(":")[2])
        async with middle_manager(on.worker.context.settings.coord.hosts, tmp_path, 1, port):
            status = await ended(on.overlord, task_id)
            assert status["statusCode"] == "SUCCESS", status
            log = (await on.overlord.get(f"/druid/indexer/v1/task/{task_id}/log")).text
        assert "has published already" in log
        assert len(await used(on)) == 3


async def test_a_task_is_shut_down(tmp_path: Path) -> None:
    """Its process ends and its slot is free again, though it would have run for a minute."""
    async with service(tmp_path, capacity=1) as on:
        task_id = (await on.overlord.post("/druid/indexer/v1/task", noop(60_000))).json()["task"]

        async def runs() -> object:
            found = (await on.overlord.get("/druid/indexer/v1/runningTasks")).json()
            return found and found[0]["location"]["host"]

        await until(runs)
        process = on.worker.role.processes[task_id]
        response = await on.overlord.post(f"/druid/indexer/v1/task/{task_id}/shutdown")
        assert response.json() == {"task": task_id}
        status = await ended(on.overlord, task_id)
        assert (status["statusCode"], status["errorMsg"]) == ("FAILED", "Shutdown request from user")
        second = (await on.overlord.post("/druid/indexer/v1/task", noop())).json()["task"]
        assert (await ended(on.overlord, second))["statusCode"] == "SUCCESS"
        assert process.directory.wait_free(0)
