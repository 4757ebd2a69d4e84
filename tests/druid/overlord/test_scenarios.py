"""What users of Druid complain of, by the number of the thread, and losses in the middle of work."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from indexing import end_session, ended, index_spec, noop, until
from played_workers import API, Play, act, insert_action, leads, lock_action, overlord, submit

from coordserver.client import connect
from coordserver.server.serve import ServerHandle
from druidroles.coordination.payloads import dumps
from druidroles.metadata import LeaderEpoch, TaskRow, open_sqlite_store, sqlite
from druidroles.model.server import NodeRole
from druidroles.model.task import TaskAnnouncement, TaskStatus
from druidroles.overlord.planning.values import QueueTimeouts


async def test_issue_5008_a_task_over_the_limit_of_a_znode(server: ServerHandle, tmp_path: Path) -> None:
    """Refused with its size and the limit when it is submitted, not when it is assigned; so is a body beyond reason."""
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        task = index_spec(tmp_path)
        task["spec"]["dataSchema"]["dimensionsSpec"]["dimensionExclusions"] = ["x" * 100] * 6000
        refused = await on.post(f"{API}/task", task)
        assert refused.status_code == 413
        assert "over the limit of 524288" in refused.json()["errorMessage"]
        assert (await on.post(f"{API}/task", noop(x="y" * (17 << 20)))).status_code == 413
        assert (await on.get(f"{API}/tasks")).json() == []


async def test_issue_11397_ghosts_of_workers_hold_up_nothing(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """Also #11514: znodes of workers that are gone, statuses of tasks that nobody knows, garbage beside them."""
    async with connect(server.address, session_timeout=4) as zk:
        for host in ("ghost:1", "ghost:2", "ghost:3"):
            await zk.create(f"/druid/indexer/tasks/{host}", b"", makepath=True)
            await zk.create(f"/druid/indexer/status/{host}", b"", makepath=True)
        unknown = TaskAnnouncement.of(noop(id="old", dataSource="x"), TaskStatus.running("old"))
        await zk.create("/druid/indexer/status/ghost:2/old", dumps(unknown.to_json()))
        await zk.create("/druid/indexer/status/ghost:3/bad", b"garbage")
        await zk.create("/druid/indexer/announcements/ghost:4", b"garbage", makepath=True)
        worker = await play("w:1")
        async with overlord(server, tmp_path, "o1") as on:
            await leads(on)
            task_id = await submit(on)
            await worker.end(await worker.claim(task_id))
            assert (await ended(on, task_id))["statusCode"] == "SUCCESS"

            async def cleared() -> bool:
                return await zk.children("/druid/indexer/status") == ["w:1"]

            await until(cleared)
            assert await zk.children("/druid/indexer/tasks") == ["w:1"]


async def test_a_worker_that_comes_back_after_long_gets_its_directories_again(
    server: ServerHandle, tmp_path: Path, play: Play
) -> None:
    """Without a start of its own: it was only cut off."""
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        for kind in ("tasks", "status"):
            await on.zk.delete(f"/druid/indexer/{kind}/w:1")
        task_id = await submit(on)
        await worker.end(await worker.claim(task_id))
        assert (await ended(on, task_id))["statusCode"] == "SUCCESS"


async def test_a_task_that_published_and_then_died_has_succeeded(
    server: ServerHandle, tmp_path: Path, play: Play
) -> None:
    """Its segments are there and served, so its failure is none; also where another Overlord led meanwhile."""
    worker = await play("w:1", 2)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        task = await worker.claim(await submit(on, dataSource="flights"))
        other = await worker.claim(await submit(on, dataSource="other"))
        version = (await act(on, task, lock_action())).json()["result"]["version"]
        assert (await act(on, task, insert_action(version))).json()["result"]["success"]
    async with overlord(server, tmp_path, "o2", QueueTimeouts()) as on:
        await leads(on)
        await worker.fail(task)
        await worker.fail(other)
        assert (await ended(on, task.id))["statusCode"] == "SUCCESS"
        assert (await ended(on, other.id))["statusCode"] == "FAILED"


async def test_a_task_that_begins_anew_is_a_new_attempt(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """What its earlier process still has under way is refused; once one has published the next is told so."""
    worker = await play("w:1")
    begin = {"type": "coordBeginAgain", "worker": "w:1"}
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        first = await worker.claim(await submit(on, dataSource="flights"))
        version = (await act(on, first, lock_action())).json()["result"]["version"]
        assert (await act(on, first, begin)).json()["result"] == {"attempt": 2, "published": False}
        again = (await act(on, first, begin)).json()["result"]  # the answer was lost
        assert again == {"attempt": 3, "published": False}
        refused = await act(on, first, insert_action(version))
        assert "superseded by attempt 3" in refused.json()["errorMessage"]
        second = attrs.evolve(first, task={**first.task, "coord": {"attempt": 3}})
        assert (await act(on, second, lock_action())).json()["result"]["version"] == version
        assert (await act(on, second, insert_action(version))).json()["result"]["success"]
        assert (await act(on, second, begin)).json()["result"] == {"attempt": 4, "published": True}
        for bad in ({**begin, "worker": "w:2"}, {"type": "coordBeginAgain"}):
            assert (await act(on, first, bad)).status_code == 400
        ahead = attrs.evolve(first, task={**first.task, "coord": {"attempt": 9}})
        assert (await act(on, ahead, begin)).status_code == 400
        await worker.end(first)
        await ended(on, first.id)
        assert (await act(on, first, begin)).status_code == 400


async def test_a_leader_paused_in_the_middle_of_a_kill(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """The next one carries it out; what the old one continues with deletes nothing, though it would find something."""
    worker = await play("w:1")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(overlord(server, tmp_path, "o1", QueueTimeouts()))
        old = await leads(first)
        second = await stack.enter_async_context(overlord(server, tmp_path, "o2", QueueTimeouts()))
        task = await worker.claim(await submit(first, dataSource="flights"))
        version = (await act(first, task, lock_action())).json()["result"]["version"]
        assert (await act(first, task, insert_action(version))).json()["result"]["success"]
        segment = insert_action(version)["segments"][0]
        await mark_unused(tmp_path, segment["identifier"])
        delete, continues, paused = old.store.delete_segments, trio.Event(), trio.Event()

        async def delete_after_a_pause(leader: LeaderEpoch, ids: Any) -> int:
            paused.set()
            await continues.wait()
            return await delete(leader, ids)

        old.store.delete_segments = delete_after_a_pause  # type: ignore[method-assign]
        nuke = {"type": "segmentNuke", "segments": [segment]}
        answers: list[Any] = []

        async def ask_the_old_one() -> None:
            answers.append(await act(first, task, nuke))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_the_old_one)
            await paused.wait()
            await end_session(server.address, first.zk)
            await leads(second)
            assert (await act(second, task, nuke)).json() == {"result": [segment["identifier"]]}
            assert (await act(second, task, insert_action(version))).json()["result"]["success"]
            await mark_unused(tmp_path, segment["identifier"])
            continues.set()
        assert answers[0].status_code == 503
        async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
            assert await store.segment(segment["identifier"]) is not None


async def mark_unused(tmp_path: Path, segment_id: str) -> None:
    """As the Coordinator does."""
    coordinator = LeaderEpoch(role="coordinator", epoch=1)
    async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
        await store.raise_epoch(coordinator)
        assert await store.set_used(coordinator, [segment_id], False) == 1


async def test_a_revoked_lock_fails_its_task_with_that_cause(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """A task of higher priority takes the interval; the weaker one learns it when it publishes, or asks again."""
    worker = await play("w:1", 2)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        weak = await worker.claim(await submit(on, dataSource="flights", context={"priority": 10}))
        strong = await worker.claim(await submit(on, dataSource="flights", context={"priority": 20}))
        old = (await act(on, weak, lock_action())).json()["result"]
        new = (await act(on, strong, lock_action())).json()["result"]
        assert new["version"] > old["version"]
        locked = await on.post(f"{API}/lockedIntervals", {"flights": 0})
        assert len(locked.json()["flights"]) == 1
        assert (await on.post(f"{API}/lockedIntervals", {"flights": 21})).json() == {}
        wanted = {"datasource": "flights", "priority": 0, "intervals": ["2013-01-01T12/2013-01-05"]}
        assert (await on.post(f"{API}/lockedIntervals/v2", [wanted])).json() == locked.json()
        assert (await on.post(f"{API}/activeLocks", [wanted])).json() == {"datasourceToLocks": {"flights": [new]}}
        elsewhere = {**wanted, "intervals": ["2014-01-01/2014-01-02"]}
        assert (await on.post(f"{API}/activeLocks", [elsewhere])).json() == {"datasourceToLocks": {}}
        for bad in ({}, [3], [{"datasource": 1}], [{"datasource": "x", "intervals": ["y"]}]):
            assert (await on.post(f"{API}/activeLocks", bad)).status_code == 400
        assert (await act(on, weak, lock_action())).json()["result"]["revoked"] is True
    async with overlord(server, tmp_path, "o2", QueueTimeouts()) as on:
        await leads(on)
        refused = (await act(on, weak, insert_action(old["version"]))).json()["result"]
        assert refused["success"] is False
        assert "was revoked by a task of higher priority" in refused["errorMsg"]
        assert (await act(on, strong, insert_action(new["version"]))).json()["result"]["success"]
        for kind in ("REPLACE", "APPEND"):
            answer = await act(on, strong, {**lock_action(), "lockType": kind})
            assert (answer.status_code, kind in answer.json()["errorMessage"]) == (400, True)


async def test_a_task_that_waits_for_a_lock_is_waiting(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """It runs, and has nothing to do: that is told, in the lists, the metrics and the tree."""
    worker = await play("w:1", 2)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        holder = await worker.claim(await submit(on, dataSource="flights"))
        waiter = await worker.claim(await submit(on, dataSource="flights"))
        await act(on, holder, lock_action())
        assert (await act(on, waiter, lock_action(1))).json() == {"result": None}
        (shown,) = (await on.get(f"{API}/waitingTasks")).json()
        assert (shown["id"], shown["runnerStatusCode"]) == (waiter.id, "WAITING")
        assert 'druid_task_waiting_count{dataSource="flights"} 1' in on.context.metrics.render()

        async def told() -> Any:
            path = on.context.paths.coord_status(NodeRole.OVERLORD, on.context.host_port)
            said = json.loads((await on.zk.get(path)).data)
            return said.get("tasks") == {"waiting": 1, "pending": 0, "running": 1} and said["leads"] and said["epoch"]

        await until(told)
        await worker.end(holder)
        await ended(on, holder.id)
        assert (await act(on, waiter, lock_action())).json()["result"] is not None
        assert (await on.get(f"{API}/waitingTasks")).json() == []


async def test_issue_12192_a_coordinator_is_no_overlord(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """Each role has a latch and epochs of its own: who leads the one, and however high, says nothing of the other."""
    coordinator = LeaderEpoch(role="coordinator", epoch=1 << 60)
    async with connect(server.address, session_timeout=4) as zk:
        latch = "/druid/coordinator/_COORDINATOR/_c_x-latch-0000000000"
        await zk.create(latch, b"http://elsewhere:8081", ephemeral=True, makepath=True)
        worker = await play("w:1")
        async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
            leading = await leads(on)
            async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
                await store.raise_epoch(coordinator)
            assert (await on.get(f"{API}/leader")).text == on.context.url
            await worker.claim(await submit(on))
            assert on.role.leading is leading


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else can write to the store."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_the_metadata_store_is_lost_for_a_while(
    server: ServerHandle, tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that change something are answered 503 and change nothing; what happened meanwhile is caught up with."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        leading = await leads(on)
        task_id, next_id = await submit(on, dataSource="flights"), await submit(on)
        task = await worker.claim(task_id)
        version = (await act(on, task, lock_action())).json()["result"]["version"]
        with locked(tmp_path / "metadata.sqlite"):
            assert (await on.post(f"{API}/task", noop())).status_code == 503
            assert (await act(on, task, insert_action(version))).status_code == 503
            assert (await on.get(f"{API}/runningTasks")).json()[0]["id"] == task_id
            await worker.end(task)

            async def noticed() -> bool:
                return leading._retry

            await until(noticed)
            assert (await on.get(f"{API}/task/{task_id}/status")).json()["status"]["statusCode"] == "RUNNING"
        assert (await ended(on, task_id))["statusCode"] == "SUCCESS"
        await worker.claim(next_id)
        assert on.role.leading is leading
        assert len((await on.get(f"{API}/tasks")).json()) == 2


async def test_a_row_with_garbage_hurts_no_other_task(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """It is reported and passed over."""
    leader = LeaderEpoch(role="overlord", epoch=1)
    bad = TaskRow(
        id="bad",
        data_source="x",
        type="noop",
        group_id="bad",
        created_date="2013-01-01T00:00:00.000Z",
        payload={"id": "bad", "resource": "none"},
        status={},
    )
    async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
        await store.raise_epoch(leader)
        await store.insert_task(leader, bad)
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        await worker.claim(await submit(on))


async def test_listings_ask_for_what_is_wanted(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """Of a datasource also what is far down among the ended ones; no ids at all is a bad request."""
    worker = await play("w:1", 4)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        for name in ("flights", "other", "other"):
            task_id = await submit(on, dataSource=name)
            await worker.end(await worker.claim(task_id))
            await ended(on, task_id)
        assert len((await on.get(f"{API}/completeTasks?max=1")).json()) == 1
        (found,) = (await on.get(f"{API}/completeTasks?max=1&datasource=flights")).json()
        assert found["dataSource"] == "flights"
        assert (await on.get(f"{API}/tasks?type=compact")).json() == []
        assert (await on.get(f"{API}/tasks?createdTimeInterval=2000_2001")).json() == []
        for bad in ("max=x", "max=-1", f"max={'9' * 5_000}", "state=odd", "createdTimeInterval=x"):
            assert (await on.get(f"{API}/tasks?{bad}")).status_code == 400
        assert (await on.post(f"{API}/taskStatus", [])).status_code == 400
        assert (await on.get(f"{API}/task/{found['id']}/segments")).status_code == 404
        assert (await on.post(f"{API}/lockedIntervals", {"flights": "x"})).status_code == 400
