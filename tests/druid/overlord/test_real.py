"""Overlords as processes: the leader stopped in the middle of a publication, a kill, an assignment, then continued.

It is stopped for as long as it takes until another leads and has done the work; in the long proofs for a minute more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from clusters import Cluster, Proc, open_cluster
from indexing import index_spec, noop
from scale import scaled

from coordserver.client import connect
from druidroles.leadership.epochs import EPOCH_HEADER

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

API = "/druid/indexer/v1"
PAUSE_S = scaled(0, 60)
CSV = "time,carrier,delay\n2013-01-01T05:00:00Z,UA,2\n2013-01-02T05:00:00Z,AA,3\n"


class Store:
    """The metadata store, which the test can lock, so that a leader's transaction waits for as long as it likes."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def lock(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()

    def rows(self, statement: str) -> list[Any]:
        return self._connection.execute(statement).fetchall()


async def leader_of(cluster: Cluster, *names: str) -> str:
    async def find() -> str | None:
        for name in names:
            response = await cluster.http.get(cluster.procs[name].url + f"{API}/isLeader", timeout=2)
            if response.status_code == 200:
                return name
        return None

    return str(await cluster.until("an Overlord leads", find))


async def submit(cluster: Cluster, proc: Proc, task: dict[str, Any]) -> str:
    response = await cluster.http.post(proc.url + f"{API}/task", json=task)
    assert response.status_code == 200, response.text
    return str(response.json()["task"])


async def succeeded(cluster: Cluster, proc: Proc, task_id: str) -> None:
    async def status() -> Any:
        response = await cluster.http.get(proc.url + f"{API}/task/{task_id}/status")
        found = response.json()["status"]
        assert found["statusCode"] != "FAILED", found
        return found["statusCode"] == "SUCCESS"

    await cluster.until("the task succeeds", status)


async def said(cluster: Cluster, path: Path, text: str) -> None:
    async def there() -> bool:
        return await trio.Path(path).is_file() and text in await trio.Path(path).read_text()

    await cluster.until(f"{path.name} says {text!r}", there)


async def stop_in_the_middle(cluster: Cluster, begin: Callable[[Proc, Proc, Store], Any]) -> tuple[Proc, Proc, Store]:
    """Two Overlords; the store locked, `begin` makes the leader want to write, and then it is stopped, past its
    session's end, until the other leads."""
    await cluster.server()
    first = await cluster.role("overlord-1", "overlord")
    await leader_of(cluster, "overlord-1")
    second = await cluster.role("overlord-2", "overlord")
    store = Store(cluster.directory / "metadata.sqlite")
    await begin(first, second, store)
    first.pause()
    store.unlock()
    await leader_of(cluster, "overlord-2")
    return first, second, store


async def continued_and_refused(cluster: Cluster, old: Proc) -> None:
    """The old leader goes on; it is told by the store, leads no more, and lives."""
    await trio.sleep(PAUSE_S)
    old.resume()
    await said(cluster, old.log, "does not lead: the metadata store holds epoch")

    async def stepped_down() -> bool:
        response = await cluster.http.get(old.url + f"{API}/isLeader")
        return bool(response.status_code == 404)

    await cluster.until("the old leader has stepped down", stepped_down)
    assert old.process.returncode is None


async def test_the_leader_is_stopped_in_the_middle_of_a_publication(tmp_path: Path) -> None:
    """The task asks the next leader and is published by it, once; what the old one still wants to commit is refused."""
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "flights.csv").write_text(CSV)
    async with open_cluster(tmp_path) as cluster:

        async def begin(first: Proc, second: Proc, store: Store) -> None:
            await cluster.role("middlemanager", "middlemanager")
            task_id.append(await submit(cluster, first, index_spec(tmp_path / "input")))
            log = tmp_path / "middlemanager" / "tasks" / task_id[0] / "log"
            await said(cluster, log, "the lock of")
            store.lock()
            await said(cluster, log, "pushed 2 of 2")
            await trio.sleep(0.3)  # for the request to arrive; too early, and the test only proves less

        task_id: list[str] = []
        old, new, store = await stop_in_the_middle(cluster, begin)
        await succeeded(cluster, new, task_id[0])
        before = store.rows("SELECT id, payload FROM druid_segments ORDER BY id")
        assert len(before) == 2
        await continued_and_refused(cluster, old)
        assert store.rows("SELECT id, payload FROM druid_segments ORDER BY id") == before
        assert store.rows("SELECT attempt FROM coord_task_attempts") == [(1,)]
        store.close()


async def test_the_leader_is_stopped_in_the_middle_of_a_kill(tmp_path: Path) -> None:
    """The next leader ends the task; what the old one still wants to delete stays, rows and files, and no worker obeys
    its epoch any more."""
    (tmp_path / "input").mkdir()
    days = [f"2013-{1 + day // 28:02}-{1 + day % 28:02}T05:00:00Z,UA,{day}\n" for day in range(150)]
    (tmp_path / "input" / "flights.csv").write_text("time,carrier,delay\n" + "".join(days))
    async with open_cluster(tmp_path) as cluster:

        async def begin(first: Proc, second: Proc, store: Store) -> None:
            await cluster.role("middlemanager", "middlemanager")
            await succeeded(cluster, first, await submit(cluster, first, index_spec(tmp_path / "input")))
            store.rows("UPDATE druid_segments SET used = 0")
            kill = {"type": "kill", "dataSource": "flights", "interval": "2013-01-01/2014-01-01"}
            task_id.append(await submit(cluster, first, kill))
            while not store.rows("SELECT id FROM druid_tasklocks"):
                await trio.lowlevel.checkpoint()
            store.lock()  # between two of its transactions: it deletes 100 at a time
            epochs.extend(store.rows("SELECT epoch FROM coord_leaders WHERE role = 'overlord'"))
            await trio.sleep(0.5)

        task_id: list[str] = []
        epochs: list[tuple[int]] = []
        old, new, store = await stop_in_the_middle(cluster, begin)
        await cluster.http.post(new.url + f"{API}/task/{task_id[0]}/shutdown")

        async def ended() -> bool:
            response = await cluster.http.get(new.url + f"{API}/task/{task_id[0]}/status")
            return bool(response.json()["status"]["statusCode"] == "FAILED")

        await cluster.until("the task is ended", ended)
        before = store.rows("SELECT id, json_extract(payload, '$.loadSpec.path') FROM druid_segments ORDER BY id")
        assert before
        await continued_and_refused(cluster, old)
        after = store.rows("SELECT id, json_extract(payload, '$.loadSpec.path') FROM druid_segments ORDER BY id")
        assert after == before
        for _, path in after:
            assert await trio.Path(path).exists()
        worker = cluster.procs["middlemanager"].url + "/druid/worker/v1"
        commanded = await cluster.http.post(worker + "/disable", headers={EPOCH_HEADER: str(epochs[0][0])})
        assert commanded.status_code == 409
        assert (await cluster.http.get(worker + "/enabled")).json() == {cluster.procs["middlemanager"].address: True}
        store.close()


async def test_the_leader_is_stopped_in_the_middle_of_an_assignment(tmp_path: Path) -> None:
    """The next leader gives the task away; what the old one continues with reaches neither store nor tree."""
    async with open_cluster(tmp_path) as cluster:

        async def begin(first: Proc, second: Proc, store: Store) -> None:
            task_id.append(await submit(cluster, first, noop(100)))
            store.lock()
            await cluster.role("middlemanager", "middlemanager")
            await trio.sleep(0.3)

        task_id: list[str] = []
        old, new, store = await stop_in_the_middle(cluster, begin)
        await succeeded(cluster, new, task_id[0])
        await continued_and_refused(cluster, old)
        assert store.rows("SELECT attempt FROM coord_task_attempts") == [(1,)]
        assert f"{task_id[0]} is assigned" not in old.log.read_text()
        worker = cluster.procs["middlemanager"].address
        async with connect(cluster.procs["server"].address, session_timeout=4) as zk:
            assert await zk.children(f"/druid/indexer/tasks/{worker}") == []
        next_id = await submit(cluster, new, noop(0))
        await succeeded(cluster, new, next_id)
        store.close()
