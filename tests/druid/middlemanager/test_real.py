"""The MiddleManager as a process, killed and started again."""

from __future__ import annotations

from typing import Any

import pytest
from clusters import Cluster, open_cluster

from druidroles.middlemanager.task_dir import TaskDirectory

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


async def test_a_killed_workers_task_begins_anew(tmp_path: Any) -> None:
    """The task's process ends too; the worker comes back at its old address, though it asks for any, and goes on."""
    async with open_cluster(tmp_path) as cluster:
        await cluster.server()
        await cluster.role("overlord", "overlord")
        worker = await cluster.role("middlemanager", "middlemanager")
        task_id = await _submit(cluster, 4_000)
        assert await cluster.until("the task runs", lambda: _location(cluster, task_id))
        directory = TaskDirectory(tmp_path / "middlemanager" / "tasks" / task_id)
        assert not directory.wait_free(0)
        worker.kill()
        await worker.process.wait()
        again = await cluster.role("middlemanager", "middlemanager")
        assert again.address == worker.address

        async def succeeded() -> bool:
            status = await _status(cluster, task_id)
            assert status["statusCode"] != "FAILED", status
            return bool(status["statusCode"] == "SUCCESS")

        await cluster.until("the task succeeds", succeeded)
        assert "begins anew" in again.log.read_text()
        assert cluster.procs["overlord"].log.read_text().count(f"{task_id} is assigned") == 1
        assert directory.wait_free(0)


async def test_the_overlord_is_killed_while_a_task_runs(tmp_path: Any) -> None:
    """The task waits for the next Overlord, which adopts it."""
    async with open_cluster(tmp_path) as cluster:
        await cluster.server()
        first = await cluster.role("overlord", "overlord")
        await cluster.role("middlemanager", "middlemanager")
        task_id = await _submit(cluster, 3000)
        await cluster.until("the task runs", lambda: _location(cluster, task_id))
        first.kill()
        await first.process.wait()
        second = await cluster.role("overlord-2", "overlord")
        cluster.procs["overlord"] = second

        async def succeeded() -> bool:
            status = await _status(cluster, task_id)
            return bool(status and status["statusCode"] == "SUCCESS")

        await cluster.until("the task succeeds", succeeded)


async def test_the_coordination_server_is_killed_while_a_task_runs(tmp_path: Any) -> None:
    """Overlord, MiddleManager and task keep their sessions over it; the task is neither lost nor run twice."""
    async with open_cluster(tmp_path) as cluster:
        server = await cluster.server()
        overlord = await cluster.role("overlord", "overlord")
        await cluster.role("middlemanager", "middlemanager")
        task_id = await _submit(cluster, 2000)
        await cluster.until("the task runs", lambda: _location(cluster, task_id))
        server.kill()
        await server.process.wait()
        await cluster.server(listen=server.address)

        async def succeeded() -> bool:
            status = await _status(cluster, task_id)
            return bool(status and status["statusCode"] == "SUCCESS")

        await cluster.until("the task succeeds", succeeded)
        assert overlord.log.read_text().count(f"{task_id} is assigned") == 1


async def _submit(cluster: Cluster, run_time_ms: int) -> str:
    """A noop task, once there is an Overlord to take it."""
    url = cluster.procs["overlord"].url + "/druid/indexer/v1/task"

    async def taken() -> Any:
        response = await cluster.http.post(url, json={"type": "noop", "runTime": run_time_ms})
        return response.json().get("task")

    return str(await cluster.until("the task is taken", taken))


async def _status(cluster: Cluster, task_id: str) -> Any:
    response = await cluster.get("overlord", f"/druid/indexer/v1/task/{task_id}/status")
    return response.json().get("status") if response.status_code == 200 else None


async def _location(cluster: Cluster, task_id: str) -> Any:
    status = await _status(cluster, task_id)
    return status and status["location"]["host"]
