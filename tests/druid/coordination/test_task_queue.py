"""The task queue from both sides: who assigns, who claims, and what an onlooker sees meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from coordserver.client import Client, Term, TransactionFailedError
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import loads
from druidroles.coordination.task_queue import TaskQueue, TaskTree
from druidroles.coordination.task_worker import Assignment, AssignmentView, WorkerTasks
from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskState, TaskStatus

HOST = "127.0.0.1:8091"


def task(task_id: str) -> dict[str, Any]:
    return {"type": "noop", "id": task_id, "groupId": task_id, "dataSource": "none"}


def assignment(task_id: str) -> Assignment:
    return Assignment(task(task_id), TaskAnnouncement.of(task(task_id), TaskStatus.running(task_id)))


@pytest.fixture
async def queue(zk: Client, paths: DruidPaths) -> TaskQueue:
    """The queue of a leader."""
    made = await zk.create(f"{paths.overlord_latch}/_c_x-latch-", b"http://o:1", ephemeral=True, sequence=True)
    return TaskQueue(zk, paths, Term(made.path, made.stat.czxid, 0))


@pytest.fixture
async def worker(other: Client, paths: DruidPaths) -> WorkerTasks:
    """A worker with its directories, on a session of its own."""
    tasks = WorkerTasks(other, paths, HOST)
    await tasks.prepare(0)
    return tasks


async def test_an_assignment_is_claimed_and_its_status_followed(
    queue: TaskQueue,
    worker: WorkerTasks,
    zk: Client,
    other: Client,
    paths: DruidPaths,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    """The payload is the task's JSON with the attempt; the claim leaves a persistent status and no assignment."""
    async with TaskTree(zk, paths) as tree, AssignmentView(other, paths, HOST) as assigned:
        async with worker.announce(Worker(HOST, capacity=3)):

            async def announced() -> bool:
                return tree.workers.get(HOST) == Worker(HOST, capacity=3)

            await eventually(announced)
            assert await queue.assign(HOST, "t1", task("t1"), 4)
            node = await zk.get(paths.task(HOST, "t1"))
            assert node.stat.ephemeral_owner == zk.session_id
            assert loads(node.data) == {**task("t1"), "coord": {"attempt": 4}}

            async def offered() -> Any:
                return assigned.assignments.get("t1")

            assert await worker.claim(await eventually(offered))

            async def claimed() -> bool:
                return (HOST, "t1") in tree.statuses and not tree.assignments and not assigned.assignments

            await eventually(claimed)
            assert tree.statuses[HOST, "t1"].status.state is TaskState.RUNNING
            assert (await zk.get(paths.task_status(HOST, "t1"))).stat.ephemeral_owner == 0
            assert await queue.claimed(HOST, "t1")
            done = tree.statuses[HOST, "t1"].with_status(TaskStatus.success("t1", 5))
            assert await worker.say(done)

            async def told() -> bool:
                return tree.statuses[HOST, "t1"] == done

            await eventually(told)
            assert await queue.forget(HOST, "t1")
            assert not await worker.say(done)
            assert not await queue.forget(HOST, "t1")

        async def gone() -> bool:
            return not tree.workers

        await eventually(gone)


async def test_of_a_claim_and_a_withdrawal_exactly_one_succeeds(queue: TaskQueue, worker: WorkerTasks) -> None:
    """However they meet."""
    outcomes = []
    for number in range(40):
        name = f"t{number}"
        assert await queue.assign(HOST, name, task(name), 1)
        result: dict[str, bool] = {}

        async def claim(name: str = name, result: dict[str, bool] = result) -> None:
            result["claimed"] = await worker.claim(assignment(name))

        async def withdraw(name: str = name, result: dict[str, bool] = result) -> None:
            result["withdrawn"] = await queue.withdraw(HOST, name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            nursery.start_soon(withdraw)
        assert result["claimed"] != result["withdrawn"]
        assert await queue.claimed(HOST, name) == result["claimed"]
        outcomes.append(result["claimed"])
    assert set(outcomes) == {True, False}


async def test_a_claimed_task_is_never_seen_absent(
    queue: TaskQueue, worker: WorkerTasks, zk: Client, paths: DruidPaths
) -> None:
    """At no moment between the assignment and the status: it would be taken for pending, and given away again."""
    absences = []
    async with TaskTree(zk, paths) as tree:
        await tree.wait_synced()
        shown: set[str] = set()

        async def look() -> None:
            while True:
                seen = {name for _, name in (*tree.assignments, *tree.statuses)}
                absences.extend(shown - seen)
                shown.update(seen)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            for number in range(60):
                assert await queue.assign(HOST, f"t{number}", task(f"t{number}"), 1)
            async with trio.open_nursery() as claiming:
                for number in range(60):
                    claiming.start_soon(worker.claim, assignment(f"t{number}"))
            while len(tree.statuses) < 60 or tree.assignments:
                await tree.changed()
            nursery.cancel_scope.cancel(reason="all are claimed")
    assert len(shown) == 60
    assert absences == []


async def test_a_deposed_leader_writes_nothing(
    queue: TaskQueue, worker: WorkerTasks, zk: Client, paths: DruidPaths
) -> None:
    """Every write fails at its first operation, the check of the latch."""
    assert await queue.assign(HOST, "t1", task("t1"), 1)
    assert await worker.claim(assignment("t1"))
    assert await queue.assign(HOST, "t2", task("t2"), 1)
    for name in await zk.children(paths.overlord_latch):
        await zk.delete(f"{paths.overlord_latch}/{name}")
    for write in (
        lambda: queue.assign(HOST, "t3", task("t3"), 1),
        lambda: queue.withdraw(HOST, "t2"),
        lambda: queue.forget(HOST, "t1"),
        lambda: queue.tell_published("nothing"),
    ):
        with pytest.raises(TransactionFailedError) as refused:
            await write()
        assert refused.value.index == 0
    assert await zk.children(paths.tasks_of(HOST)) == ["t2"]
    assert await zk.children(paths.status_of(HOST)) == ["t1"]


async def test_what_stands_in_the_way_of_an_assignment_is_removed(
    queue: TaskQueue, worker: WorkerTasks, zk: Client, paths: DruidPaths
) -> None:
    """An older attempt's payload must not be run for the newer one's; a missing directory is no fault of ours."""
    assert await queue.assign(HOST, "t1", task("t1"), 1)
    assert not await queue.assign(HOST, "t1", task("t1"), 2)
    assert await queue.assign(HOST, "t1", task("t1"), 3)
    assert loads((await zk.get(paths.task(HOST, "t1"))).data)["coord"] == {"attempt": 3}
    assert not await queue.assign("nobody:1", "t1", task("t1"), 4)


async def test_a_status_that_is_there_already_stops_the_claim(queue: TaskQueue, worker: WorkerTasks) -> None:
    """It is another run's, and the assignment stays for the Overlord to judge."""
    assert await queue.assign(HOST, "t1", task("t1"), 1)
    assert await worker.claim(assignment("t1"))
    assert await queue.assign(HOST, "t1", task("t1"), 2)
    assert not await worker.claim(assignment("t1"))
    assert list(await worker.statuses()) == ["t1"]


async def test_garbage_is_skipped_and_in_a_status_fails_the_task(
    zk: Client, other: Client, paths: DruidPaths, worker: WorkerTasks
) -> None:
    """Whatever somebody else has written there, the views go on."""
    await zk.create(paths.worker("w:1"), b"{", ephemeral=True)
    await zk.create(paths.task(HOST, "bad"), b"[]", ephemeral=True)
    await zk.create(paths.task(HOST, "alien"), b'{"id": "other", "type": "noop"}', ephemeral=True)
    await zk.create(paths.task_status(HOST, "t1"), b'{"id": "t2", "status": "RUNNING"}')
    async with TaskTree(zk, paths) as tree, AssignmentView(other, paths, HOST) as assigned:
        await tree.wait_synced()
        await assigned.wait_synced()
        assert not tree.workers
        status = tree.statuses[HOST, "t1"].status
        assert (status.state, status.error_msg) == (TaskState.FAILED, "malformed status: it is of task 't2'")
        assert sorted(tree.assignments) == [(HOST, "alien"), (HOST, "bad")]
        assert not assigned.assignments
