"""The MiddleManager by itself: what a predecessor left behind, its slots, its HTTP API, and the fence on commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from indexing import Running, noop, running, until

from coordserver.client import Client, connect
from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.leadership.epochs import EPOCH_HEADER
from druidroles.middlemanager.kept_port import kept_port
from druidroles.middlemanager.role import RESTARTS_MAX, MiddleManagerSettings, build
from druidroles.middlemanager.task_dir import Result, TaskDirectory
from druidroles.model.server import NodeRole
from druidroles.model.task import TaskAnnouncement, TaskState, TaskStatus
from druidroles.process import open_listeners

API = "/druid/worker/v1"
PATHS = DruidPaths("/druid")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle:
        yield handle


@pytest.fixture
async def zk(server: ServerHandle) -> AsyncIterator[Client]:
    """The session of the Overlord that the test plays."""
    async with connect(server.address, session_timeout=4) as client:
        yield client


@asynccontextmanager
async def worker(
    server: ServerHandle, tmp_path: Path, port: int = 0, capacity: int = 1, **more: Any
) -> AsyncIterator[Running]:
    settings = MiddleManagerSettings(deep_storage=tmp_path / "deep", capacity=capacity, task_port=0, **more)
    build_it = partial(build, settings=settings)
    async with running(server.address, NodeRole.MIDDLE_MANAGER, tmp_path / "worker", build_it, port) as on:
        yield on


async def assign(zk: Client, on: Running, task_id: str, run_time_ms: int = 60_000, slots: int = 1) -> None:
    task = noop(run_time_ms, id=task_id, groupId=task_id, dataSource="none", coord={"attempt": 1})
    task["resource"] = {"availabilityGroup": task_id, "requiredCapacity": slots}
    await zk.create(PATHS.task(on.context.host_port, task_id), dumps(task), ephemeral=True)


async def contend(zk: Client) -> str:
    """A contender for the Overlords' latch; its epoch."""
    path = f"{PATHS.overlord_latch}/_c_test-latch-"
    created = await zk.create(path, b"http://played", ephemeral=True, sequence=True, makepath=True)
    stat = await zk.exists(created.path)
    assert stat is not None
    return str(stat.czxid)


async def status(zk: Client, host: str, task_id: str) -> TaskStatus | None:
    path = PATHS.task_status(host, task_id)
    if await zk.exists(path) is None:
        return None
    return TaskAnnouncement.from_json(loads((await zk.get(path)).data)).status


async def in_state(zk: Client, host: str, task_id: str, state: TaskState) -> TaskStatus:
    async def reached() -> TaskStatus | None:
        found = await status(zk, host, task_id)
        return found if found is not None and found.state is state else None

    found: TaskStatus = await until(reached)
    return found


async def free_port() -> int:
    (listener,) = await open_listeners("127.0.0.1", 0)
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


async def test_slots_and_tasks_are_announced(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """A task that finds no slot waits in the queue, unclaimed, and holds up no smaller one."""
    async with worker(server, tmp_path, capacity=2) as on:
        host = on.context.host_port
        announced = loads((await zk.get(PATHS.worker(host))).data)
        assert (announced["host"], announced["capacity"], announced["version"]) == (host, 2, "0")
        assert set(loads((await zk.get(PATHS.tasks_of(host))).data)) == {"created"}

        async def slots() -> Any:
            return json.loads((await zk.get(PATHS.coord_status(NodeRole.MIDDLE_MANAGER, host))).data)

        assert await slots() == {"slotsUsed": 0, "slotsFree": 2, "capacity": 2, "tasks": []}
        await assign(zk, on, "one")
        await in_state(zk, host, "one", TaskState.RUNNING)
        await assign(zk, on, "big", 0, slots=2)
        await assign(zk, on, "two")
        await in_state(zk, host, "two", TaskState.RUNNING)

        async def used() -> bool:
            return bool(await slots() == {"slotsUsed": 2, "slotsFree": 0, "capacity": 2, "tasks": ["one", "two"]})

        await until(used)
        assert await zk.children(PATHS.tasks_of(host)) == ["big"]
        assert (await on.get(f"{API}/tasks")).json() == ["one", "two"]
        for name in ("one", "two"):
            on.role.processes[name].stop("enough")
            assert (await in_state(zk, host, name, TaskState.FAILED)).error_msg == "enough"
        await in_state(zk, host, "big", TaskState.SUCCESS)


async def test_a_predecessors_tasks_are_settled_before_anything_else(
    server: ServerHandle, tmp_path: Path, zk: Client
) -> None:
    """Its process ended with it: what had come to its result counts, the rest failed. Ended ones are left alone."""
    port = await free_port()
    host = f"127.0.0.1:{port}"
    for task_id, state in (("done", None), ("lost", None), ("bad", None), ("old", TaskState.SUCCESS)):
        task = noop(0, id=task_id, dataSource="none")
        said = TaskStatus.running(task_id) if state is None else TaskStatus.success(task_id, 7)
        announcement = TaskAnnouncement.of(task, said)
        await zk.create(PATHS.task_status(host, task_id), dumps(announcement.to_json()), makepath=True)
        TaskDirectory(tmp_path / "worker" / "tasks" / task_id).prepare(task)
    TaskDirectory(tmp_path / "worker" / "tasks" / "done").write_result(Result(TaskState.SUCCESS))
    TaskDirectory(tmp_path / "worker" / "tasks" / "bad").write_result(Result(TaskState.FAILED, "no input"))
    async with worker(server, tmp_path, port, restore=False):
        found = {name: await status(zk, host, name) for name in ("done", "lost", "bad", "old")}
    assert {name: (one.state.value, one.error_msg) for name, one in found.items() if one is not None} == {
        "done": ("SUCCESS", None),
        "lost": ("FAILED", "canceled as unknown"),
        "bad": ("FAILED", "no input"),
        "old": ("SUCCESS", None),
    }


async def test_a_stopping_worker_ends_its_tasks_and_says_so(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """The Overlord need not wait for a timeout."""
    async with worker(server, tmp_path, restore=False) as on:
        host = on.context.host_port
        await assign(zk, on, "t1")
        await in_state(zk, host, "t1", TaskState.RUNNING)
        directory = on.role.processes["t1"].directory
    said = await status(zk, host, "t1")
    assert said is not None
    assert (said.state, said.error_msg) == (TaskState.FAILED, "the MiddleManager stopped")
    assert directory.wait_free(0)
    assert await zk.exists(PATHS.worker(host)) is None


async def test_a_stopped_workers_tasks_begin_anew(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """In the slots that they had; not for ever, should it be the task that brings it down."""
    port = await free_port()
    host = f"127.0.0.1:{port}"
    for start in range(RESTARTS_MAX + 1):
        async with worker(server, tmp_path, port) as on:
            if start == 0:
                await assign(zk, on, "t1")
            said = await in_state(zk, host, "t1", TaskState.RUNNING)
            process = on.role.processes["t1"]
            assert process.announcement.status == TaskStatus.running("t1")
            assert process.directory.task()["coord"] == {"attempt": 1}
            assert on.role._slots()["slotsFree"] == 0

            async def located(running: Any = process) -> Any:
                return running.location.port > 0

            await until(located)
        said = await in_state(zk, host, "t1", TaskState.RUNNING)
        assert process.directory.wait_free(0)
    async with worker(server, tmp_path, port) as on:
        said = await in_state(zk, host, "t1", TaskState.FAILED)
        assert said.error_msg == f"its worker was restarted {RESTARTS_MAX + 1} times while it ran"
        assert on.role.processes == {}


async def test_what_was_forgotten_meanwhile_does_not_begin_anew(
    server: ServerHandle, tmp_path: Path, zk: Client
) -> None:
    """The Overlord has given the task up and removed its status; another kept its status but has no directory."""
    port = await free_port()
    host = f"127.0.0.1:{port}"
    async with worker(server, tmp_path, port, capacity=2) as on:
        for name in ("gone", "bare"):
            await assign(zk, on, name)
            await in_state(zk, host, name, TaskState.RUNNING)
    await zk.delete(PATHS.task_status(host, "gone"))
    shutil.rmtree(tmp_path / "worker" / "tasks" / "bare")
    async with worker(server, tmp_path, port, capacity=2) as on:
        assert (await in_state(zk, host, "bare", TaskState.FAILED)).error_msg == "canceled as unknown"
        assert await status(zk, host, "gone") is None
        assert on.role.processes == {}


async def test_a_worker_keeps_its_port(server: ServerHandle, tmp_path: Path) -> None:
    """Where it is free; otherwise, and with garbage for a note, any other."""
    async with worker(server, tmp_path) as on:
        port = int(on.context.host_port.rpartition(":")[2])
        assert kept_port(tmp_path / "worker", "127.0.0.1") == 0  # it is taken just now
    assert kept_port(tmp_path / "worker", "127.0.0.1") == port
    (tmp_path / "worker" / "port").write_text("no port")
    assert kept_port(tmp_path / "worker", "127.0.0.1") == 0
    assert kept_port(tmp_path / "nowhere", "127.0.0.1") == 0


async def test_a_worker_says_its_category(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """In its announcement, where the Overlord looks for it."""
    async with worker(server, tmp_path, category="big") as on:
        assert loads((await zk.get(PATHS.worker(on.context.host_port))).data)["category"] == "big"


async def test_a_deposed_overlord_cannot_stop_a_task(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """409 to an epoch lower than one that was heard; without an epoch it is an operator's command."""
    old, new = await contend(zk), await contend(zk)
    async with worker(server, tmp_path) as on:
        host = on.context.host_port
        await assign(zk, on, "t1")
        await in_state(zk, host, "t1", TaskState.RUNNING)
        unknown = await on.post(f"{API}/task/t9/shutdown", headers={EPOCH_HEADER: new})
        assert unknown.status_code == 404
        refused = await on.post(f"{API}/task/t1/shutdown", headers={EPOCH_HEADER: old})
        assert refused.status_code == 409
        assert f"epoch {old}" in refused.json()["errorMessage"]
        assert (await on.post(f"{API}/task/t1/shutdown", headers={EPOCH_HEADER: "x"})).status_code == 400
        assert (await on.get(f"{API}/tasks")).json() == ["t1"]
        stopped = await on.post(f"{API}/task/t1/shutdown", headers={EPOCH_HEADER: new})
        assert stopped.json() == {"task": "t1"}
        assert (await in_state(zk, host, "t1", TaskState.FAILED)).error_msg == "it was shut down"


async def test_an_epoch_that_no_overlord_has_deposes_nobody(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """However high: were it remembered, every command of the real leader would be refused from then on."""
    epoch = await contend(zk)
    async with worker(server, tmp_path) as on:
        for made_up, code in ((str(int(epoch) + 1), 409), ("9" * 19, 409), ("9" * 40, 400), ("-1", 400), ("", 400)):
            answer = await on.post(f"{API}/disable", headers={EPOCH_HEADER: made_up})
            assert (answer.status_code, made_up) == (code, made_up)
            assert "epoch" in answer.json()["errorMessage"].lower()
        assert (await on.get(f"{API}/enabled")).json() == {on.context.host_port: True}
        assert (await on.post(f"{API}/disable", headers={EPOCH_HEADER: epoch})).status_code == 200


async def test_a_disabled_worker_says_so(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """By an empty version, as Druid's does."""
    async with worker(server, tmp_path) as on:
        host = on.context.host_port

        async def version() -> Any:
            return loads((await zk.get(PATHS.worker(host))).data)["version"]

        assert (await on.post(f"{API}/disable")).json() == {host: "disabled"}
        assert (await on.get(f"{API}/enabled")).json() == {host: False}
        assert await version() == ""
        old, new = await contend(zk), await contend(zk)
        commanded = await on.post(f"{API}/enable", headers={EPOCH_HEADER: new})
        assert commanded.json() == {host: "enabled"}
        assert (await on.post(f"{API}/disable", headers={EPOCH_HEADER: old})).status_code == 409
        assert (await on.post(f"{API}/enable")).json() == {host: "enabled"}
        assert await version() == "0"


async def test_the_process_is_killed(server: ServerHandle, tmp_path: Path, zk: Client) -> None:
    """Its task fails with the exit code; the live report is its own while it runs, and 404 afterwards."""
    async with worker(server, tmp_path) as on:
        host = on.context.host_port
        await assign(zk, on, "t1")

        async def located() -> Any:
            found = await status(zk, host, "t1")
            return found is not None and found.location.port > 0 and found

        said = await until(located)
        live = (await on.get(f"{API}/task/t1/reports")).json()["ingestionStatsAndErrors"]
        assert (live["taskId"], live["payload"]["ingestionState"]) == ("t1", "NOT_STARTED")
        peons = await zk.children(PATHS.discovery(NodeRole.PEON))
        assert peons == [f"127.0.0.1:{said.location.port}"]
        on.role.processes["t1"].process.kill()
        failed = await in_state(zk, host, "t1", TaskState.FAILED)
        assert "code -9" in str(failed.error_msg)
        assert (await on.get(f"{API}/task/t1/reports")).status_code == 404
        for odd in ("..%2Flock", "../../lock", "nobody", "%2e%2e"):
            assert (await on.get(f"{API}/task/{odd}/log")).status_code == 404
        for bad in ("x", "--1", "²", "9" * 5_000):
            assert (await on.get(f"{API}/task/t1/log?offset={bad}")).status_code == 400
