"""The Overlord with workers that the test plays: who gets what, what is refused, and what becomes of lost tasks."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from indexing import end_session, ended, noop, until
from played_workers import API, Play, act, insert_action, leads, lock_action, overlord, submit

from coordserver.client import TransactionFailedError
from coordserver.server.serve import ServerHandle
from druidroles.leadership.epochs import EPOCH_HEADER
from druidroles.metadata import StaleEpochError
from druidroles.model.task import TaskStatus
from druidroles.overlord.planning.submission import new_row
from druidroles.overlord.planning.values import QueueTimeouts


async def test_of_two_overlords_one_leads_and_the_other_redirects(
    server: ServerHandle, tmp_path: Path, play: Play
) -> None:
    """When the session of the first ends the second leads; what the first still wants to write is refused."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(overlord(server, tmp_path, "o1"))
        old = await leads(first)
        second = await stack.enter_async_context(overlord(server, tmp_path, "o2"))
        assert (await second.get(f"{API}/isLeader")).json() == {"leader": False}
        assert (await second.get(f"{API}/leader")).text == first.context.url
        moved = await second.post(f"{API}/task?x=1", noop())
        assert moved.status_code == 307
        assert moved.headers["location"] == f"{first.context.url}{API}/task?x=1"
        task_id = await submit(first)
        await end_session(server.address, first.zk)
        new = await leads(second)
        assert new.leader.epoch > old.leader.epoch
        assert list(new.tasks) == [task_id]
        # The old leader's objects, as if it had been paused in the middle of using them.
        with pytest.raises(StaleEpochError):
            await old.submit(new_row({"type": "noop", "id": "late", "dataSource": "x"}, 0))
        with pytest.raises(TransactionFailedError) as refused:
            await old._queue.assign("w:1", task_id, {}, 1)
        assert refused.value.index == 0
        # And the work goes on.
        worker = await play("w:1")
        await worker.end(await worker.claim(task_id))
        assert (await ended(second, task_id))["statusCode"] == "SUCCESS"

        async def stepped_down() -> bool:
            response = await first.get(f"{API}/leader")
            return first.role.leading is None and response.text == second.context.url

        await until(stepped_down)


async def test_a_new_leader_adopts_what_runs(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """It reads both subtrees before it assigns: a claimed task is not given away a second time."""
    worker = await play("w:1", 2)
    async with overlord(server, tmp_path, "o1") as first:
        await leads(first)
        task_id = await submit(first)
        claimed = await worker.claim(task_id)
    async with overlord(server, tmp_path, "o2") as second:
        leading = await leads(second)
        other = await submit(second)
        await worker.offered(other)
        row = leading.tasks[task_id]
        assert (row.attempt, row.worker) == (1, "w:1")
        assert leading.running(row) == TaskStatus.running(task_id)
        await worker.end(claimed)
        assert (await ended(second, task_id))["statusCode"] == "SUCCESS"


async def test_tasks_wait_for_slots_in_their_order(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """One slot: the second task is assigned when the first has ended, and is listed as pending until then."""
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        one, two = await submit(on), await submit(on)
        first = await worker.claim(one)

        async def runs() -> bool:
            return [task["id"] for task in (await on.get(f"{API}/runningTasks")).json()] == [one]

        await until(runs)
        assert [task["id"] for task in (await on.get(f"{API}/pendingTasks")).json()] == [two]
        (shown,) = (await on.get(f"{API}/workers")).json()
        assert (shown["worker"]["host"], shown["currCapacityUsed"], shown["runningTasks"]) == ("w:1", 1, [one])
        await worker.end(first)
        await worker.end(await worker.claim(two))
        await ended(on, two)
        complete = (await on.get(f"{API}/tasks?state=complete")).json()
        assert {(task["id"], task["statusCode"]) for task in complete} == {(one, "SUCCESS"), (two, "SUCCESS")}


async def test_a_burst_of_tasks_is_assigned_once_each(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """The Overlord looks again before its view shows what it has just sent; it must not send it a second time."""
    worker = await play("w:1", 30)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        leading = await leads(on)
        tasks: list[str] = []

        async def one() -> None:
            tasks.append(await submit(on))

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(one)
        for task_id in tasks:
            await worker.claim(task_id)
        assert {row.attempt for row in leading.tasks.values()} == {1}


async def test_an_attempt_that_was_withdrawn_is_superseded(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """The worker goes away before it claims; another gets the task, and the first can neither start nor publish it."""
    first = await play("w:1")
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        task_id = await submit(on, dataSource="flights")
        stale = await first.offered(task_id)
        first.left.set()
        second = await play("w:2")
        current = await second.claim(task_id)
        assert current.task["coord"] == {"attempt": 2}
        assert not await first.tasks.claim(stale)
        lock = (await act(on, current, lock_action())).json()["result"]
        refused = await act(on, stale, insert_action(lock["version"]))
        assert refused.status_code == 400
        assert "superseded by attempt 2" in refused.json()["errorMessage"]
        published = await act(on, current, insert_action(lock["version"]))
        assert published.json()["result"]["success"] is True
        again = await act(on, current, insert_action(lock["version"]))
        assert again.json()["result"]["success"] is True
        await second.end(current)
        await ended(on, task_id)
        late = await act(on, current, insert_action(lock["version"]))
        assert "has ended" in late.json()["errorMessage"]


async def test_an_assignment_that_nobody_claims_goes_to_another(
    server: ServerHandle, tmp_path: Path, play: Play
) -> None:
    """A worker that hangs: after the timeout its assignment is taken back."""
    await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        task_id = await submit(on)
        other = await play("w:2", 9)
        assert (await other.claim(task_id)).task["coord"]["attempt"] >= 2


async def test_a_task_whose_worker_vanishes_fails(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """After the cleanup timeout, and its status goes too."""
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        task_id = await submit(on)
        await worker.claim(task_id)
        worker.left.set()
        status = await ended(on, task_id)
        assert status["statusCode"] == "FAILED"
        assert "went away" in status["errorMsg"]

        async def cleaned() -> bool:
            return await on.zk.children("/druid/indexer/status") == []

        await until(cleaned)
        assert await on.zk.children("/druid/indexer/tasks") == []


async def test_a_status_that_disappears_fails_the_task(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """Nobody but the Overlord removes one; the task is not run a second time."""
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        leading = await leads(on)
        task_id = await submit(on)
        await worker.claim(task_id)

        async def noticed() -> object:
            return leading.running(leading.tasks[task_id])

        await until(noticed)
        await on.zk.delete(f"/druid/indexer/status/w:1/{task_id}")
        status = await ended(on, task_id)
        assert (status["statusCode"], "disappeared" in status["errorMsg"]) == ("FAILED", True)


async def test_a_lock_is_waited_for(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """The second task gets it when the first ends, with a newer version; a lock without patience is answered null."""
    worker = await play("w:1", 2)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        one = await worker.claim(await submit(on, dataSource="flights"))
        two = await worker.claim(await submit(on, dataSource="flights"))
        held = (await act(on, one, lock_action())).json()["result"]
        assert (await act(on, two, lock_action(1))).json() == {"result": None}
        answers: list[Any] = []

        async def wait_for_it() -> None:
            answers.append((await act(on, two, lock_action())).json()["result"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_it)
            await worker.end(one)
        assert answers[0]["version"] > held["version"]
        assert answers[0]["groupId"] == two.id


async def test_a_deposed_coordinator_cannot_have_segments_killed(server: ServerHandle, tmp_path: Path) -> None:
    """Its task is refused by its epoch, before it is stored; a user's has none."""
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        epochs = []
        for _ in range(2):
            latch = on.context.paths.coordinator_latch
            path = (await on.zk.create(f"{latch}/_c_test-latch-", b"http://c", ephemeral=True, sequence=True)).path
            epochs.append((await on.zk.get(path)).stat.czxid)
        kill = {"type": "kill", "dataSource": "none", "interval": "2013/2014"}
        for number, (epoch, code) in enumerate(((epochs[1], 200), (epochs[0], 409), (epochs[1] + 1, 409))):
            headers = {EPOCH_HEADER: str(epoch)}
            answer = await on.post(f"{API}/task", {**kill, "id": f"k{number}"}, headers=headers)
            assert answer.status_code == code, answer.text
        assert (await on.post(f"{API}/task", {**kill, "id": "mine"})).status_code == 200
        assert {task["id"] for task in (await on.get(f"{API}/tasks")).json()} == {"k0", "mine"}


async def test_unknown_tasks_and_malformed_requests(server: ServerHandle, tmp_path: Path) -> None:
    """Each is answered with what is wrong, and hurts nothing else."""
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        for path in ("", "/status", "/log", "/reports"):
            response = await on.get(f"{API}/task/nobody{path}")
            assert (response.status_code, response.text) == (404, "Cannot find any task with id: [nobody]")
        response = await on.get(f"{API}/tasks?state=wrong")
        assert (response.status_code, response.text) == (
            400,
            "Invalid state : wrong, valid values are: [pending, waiting, running, complete]",
        )
        assert (await on.get(f"{API}/tasks?state=RUNNING")).json() == []
        assert (await on.post(f"{API}/task/nobody/shutdown")).status_code == 404
        for body, named in (
            ({"type": "index_kafka"}, "index_kafka"),
            ({"type": "index_parallel"}, "spec"),
            (noop(dataSource="a/b"), "dataSource"),
            (noop(id=".."), "id"),
        ):
            response = await on.post(f"{API}/task", body)
            assert response.status_code == 400
            assert named in response.json()["errorMessage"]
        assert (await on.get(f"{API}/tasks?state=odd")).status_code == 400
        odd = await on.get(f"{API}/tasks?createdTimeInterval=odd")
        assert (odd.status_code, odd.json()["errorMessage"][:19]) == (400, "createdTimeInterval")
        assert (await on.post(f"{API}/action", {"task": noop(id="x"), "action": {"type": "steal"}})).status_code == 400
        task_id = await submit(on, id="mine")
        assert (await on.post(f"{API}/task", noop(id="mine"))).status_code == 400
        assert (await on.get(f"{API}/task/{task_id}/log")).status_code == 404
        payload = (await on.get(f"{API}/task/{task_id}")).json()
        assert payload["payload"]["type"] == "noop"
        statuses = (await on.post(f"{API}/taskStatus", ["mine", "nobody"])).json()
        assert list(statuses) == ["mine"]
        stopped = await on.post(f"{API}/datasources/none/shutdownAllTasks")
        assert stopped.json() == {"dataSource": "none"}
        assert (await ended(on, task_id))["statusCode"] == "FAILED"
