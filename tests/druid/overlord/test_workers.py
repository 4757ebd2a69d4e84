"""How an operator sees workers and spreads tasks over them, over HTTP, with workers that the test plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexing import ended, until
from played_workers import API, Play, leads, overlord, submit

from coordserver.server.serve import ServerHandle
from druidroles.metadata import LeaderEpoch, open_sqlite_store
from druidroles.metadata.records import Audit
from druidroles.overlord.planning.blacklist import BlacklistRule
from druidroles.overlord.planning.values import QueueTimeouts
from druidroles.overlord.planning.worker_config import NAME

AFFINITY = {
    "type": "default",
    "selectStrategy": {
        "type": "fillCapacity",
        "affinityConfig": {"affinity": {"flights": ["w:2"]}, "strong": True},
    },
    "autoScaler": None,
}


async def test_a_configuration_counts_at_once_and_for_the_next_leader(
    server: ServerHandle, tmp_path: Path, play: Play
) -> None:
    """A task that waits is given away as soon as the configuration lets it; who changed it is kept."""
    first, second = await play("w:1", 5), await play("w:2", 1)
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        assert (await on.get(f"{API}/worker")).content == b""
        refused = await on.post(f"{API}/worker", {"selectStrategy": {"type": "javascript"}})
        assert (refused.status_code, "javascript" in refused.json()["errorMessage"]) == (400, True)
        headers = {"X-Druid-Author": "ada", "X-Druid-Comment": "keep flights together"}
        assert (await on.post(f"{API}/worker", AFFINITY, headers=headers)).status_code == 200
        assert (await on.get(f"{API}/worker")).json() == AFFINITY
        one = await second.claim(await submit(on, dataSource="flights"))
        waiting = await submit(on, dataSource="flights")
        await first.claim(await submit(on, dataSource="other"))

        async def only_one_waits() -> bool:
            return [task["id"] for task in (await on.get(f"{API}/pendingTasks")).json()] == [waiting]

        await until(only_one_waits)
    async with overlord(server, tmp_path, "o2", QueueTimeouts()) as on:
        await leads(on)
        assert (await on.get(f"{API}/worker")).json() == AFFINITY
        assert [task["id"] for task in (await on.get(f"{API}/pendingTasks")).json()] == [waiting]
        assert (await on.post(f"{API}/worker", {"type": "default"})).status_code == 200
        await first.claim(waiting)
        await second.end(one)
        newest, oldest = (await on.get(f"{API}/worker/history?count=5")).json()
        assert oldest["auditInfo"] == {"author": "ada", "comment": "keep flights together", "ip": ""}
        assert newest["payload"] == '{"type":"default"}'
        assert (await on.get(f"{API}/worker/history?count=0")).status_code == 400
        assert (await on.get(f"{API}/worker/history?interval=2000_2001")).json() == []


async def test_a_stored_configuration_with_garbage_stops_nobody(
    server: ServerHandle, tmp_path: Path, play: Play
) -> None:
    """It is reported, and tasks are spread as by default."""
    leader = LeaderEpoch(role="overlord", epoch=1)
    async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
        await store.raise_epoch(leader)
        await store.set_config(leader, NAME, {"selectStrategy": 7}, Audit())
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        await worker.claim(await submit(on))


async def test_categories_of_workers(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """Workers say theirs; tasks of a type go where it belongs."""
    await play("w:1", 9)
    big = await play("w:2", 1, category="big")
    spec = {"categoryMap": {"noop": {"defaultCategory": "big"}}, "strong": True}
    strategy = {"type": "equalDistributionWithCategorySpec", "workerCategorySpec": spec}
    async with overlord(server, tmp_path, "o1", QueueTimeouts()) as on:
        await leads(on)
        await on.post(f"{API}/worker", {"type": "default", "selectStrategy": strategy})
        await big.claim(await submit(on))
        shown = (await on.get(f"{API}/workers")).json()
        assert [one["worker"]["category"] for one in shown] == ["_default_worker_category", "big"]


async def test_issue_2497_a_worker_that_hangs_blocks_no_other(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """It has the most slots and claims nothing: its tasks go to the other, and no new ones come to it meanwhile."""
    hung = await play("w:1", 9)
    limits = QueueTimeouts(slow_claim_ms=100)
    async with overlord(server, tmp_path, "o1", limits) as on:
        await leads(on)
        tasks = [await submit(on) for _ in range(3)]
        for task_id in tasks:
            await hung.offered(task_id)
        other = await play("w:2", 4)
        for task_id in tasks:
            await other.claim(task_id)
        await other.claim(await submit(on))
        # For want of a better one it is tried again; once it claims it is like any other.
        probe = await submit(on)
        await hung.claim(probe)
        for task_id in [await submit(on), await submit(on)]:
            await hung.offered(task_id)


async def test_a_worker_where_all_fails_is_left_out(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """Its slots count as blacklisted; a success of a task that still runs there ends it."""
    rule = BlacklistRule(failures=1, percentage=100)
    bad = await play("w:1", 3)
    async with overlord(server, tmp_path, "o1", QueueTimeouts(), blacklist=rule) as on:
        leading = await leads(on)
        running = await bad.claim(await submit(on))
        for _ in range(2):
            task_id = await submit(on)
            await bad.fail(await bad.claim(task_id))
            assert (await ended(on, task_id))["statusCode"] == "FAILED"

        async def barred() -> Any:
            return (await on.get(f"{API}/workers")).json()[0].get("blacklistedUntil")

        assert await until(barred) > "2024"
        waiting = await submit(on)
        metrics = on.context.metrics.render()
        assert 'druid_taskSlot_blacklisted_count{category="_default_worker_category"} 3' in metrics
        assert 'druid_task_failed_count{dataSource="none",taskType="noop"} 2' in metrics
        assert 'druid_task_pending_count{dataSource="none"} 1' in metrics
        assert [row.worker for row in leading.tasks.values() if row.id == waiting] == [None]
        await bad.end(running)
        await bad.claim(waiting)
        assert not await barred()


async def test_unknown_workers_and_silent_ones(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    """404 where there is none, 502 where it does not answer."""
    await play("127.0.0.1:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        assert (await on.post(f"{API}/worker/nobody:1/disable")).status_code == 404
        assert (await on.post(f"{API}/worker/127.0.0.1:1/enable")).status_code == 502


async def test_what_there_is_not_says_so(server: ServerHandle, tmp_path: Path) -> None:
    """Questions are answered as by a Druid without it; what would make a supervisor is refused by name."""
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        for path in ("supervisor", "sampler"):
            answer = await on.post(f"{API}/{path}", body={})
            assert (answer.status_code, answer.json()["error"]) == (501, "Unsupported operation")
        assert (await on.get(f"{API}/supervisor")).json() == []
        assert (await on.get(f"{API}/supervisor?full")).json() == []
        assert (await on.get(f"{API}/supervisor/history")).json() == {}
        assert (await on.post(f"{API}/supervisor/terminateAll", body={})).json() == {"status": "success"}
        for path in ("supervisor/x", "supervisor/x/status", "supervisor/x/history"):
            answer = await on.get(f"{API}/{path}")
            assert (answer.status_code, answer.text) == (404, "Cannot find any supervisor with id: [x]")
            assert answer.headers["content-type"].startswith("text/plain")
        assert (await on.post(f"{API}/supervisor/x/suspend", body={})).status_code == 404
        for path in ("scaling", "worker"):
            answer = await on.get(f"{API}/{path}")
            assert (answer.status_code, answer.content) == (200, b"")
        assert (await on.get(f"{API}/totalWorkerCapacity")).json()["currentClusterCapacity"] == 0
