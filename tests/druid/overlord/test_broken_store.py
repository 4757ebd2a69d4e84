"""An Overlord on a store with rows that nobody can read, and with names that no path can hold."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from played_workers import API, Play, act, insert_action, leads, lock_action, overlord, submit
from role_routes import BODIES

from coordserver.core.model.errors import NoAuthError
from coordserver.server.serve import ServerHandle
from druidroles.coordination.task_queue import TaskQueue
from druidroles.metadata import open_sqlite_store
from druidroles.model.interval import Interval
from druidroles.model.task import TaskLock, TaskStatus

BROKEN = {
    "a brace": b"{",
    "not text": b"\x00\x01\xff",
    "null": b"null",
    "an array": b"[]",
    "a number": b"5",
    "brackets": b"[" * 100_000,
}
GOOD = b'{"id": "bad", "type": "noop", "dataSource": "wiki", "status": "RUNNING"}'
TASK = (
    "INSERT INTO druid_tasks (id, created_date, datasource, payload, status_payload, active, type, group_id)"
    " VALUES (?, '2024-01-01T00:00:00.000Z', ?, ?, ?, ?, 'noop', 'bad')"
)
READS = (
    "/tasks",
    "/tasks?state=complete",
    "/tasks?datasource=wiki",
    "/tasks?createdTimeInterval=2013_2030",
    "/completeTasks",
    "/pendingTasks",
    "/runningTasks",
    "/waitingTasks",
    "/workers",
    "/worker",
    "/worker/history",
)


async def insert(tmp_path: Path, statement: str, *values: Any) -> None:
    async with open_sqlite_store(tmp_path / "metadata.sqlite"):
        pass  # the tables are made
    connection = sqlite3.connect(tmp_path / "metadata.sqlite")
    with connection:
        connection.execute(statement, values)
    connection.close()


async def spoil(tmp_path: Path, where: str, payload: bytes) -> None:
    match where:
        case "payload of an active task":
            await insert(tmp_path, TASK, "bad", "wiki", payload, GOOD, True)
        case "status of an active task":
            await insert(tmp_path, TASK, "bad", "wiki", GOOD, payload, True)
        case "payload of an ended task":
            await insert(tmp_path, TASK, "bad", "wiki", payload, GOOD, False)
        case "status of an ended task":
            await insert(tmp_path, TASK, "bad", "wiki", GOOD, payload, False)
        case "lock":
            await insert(tmp_path, "INSERT INTO druid_tasklocks (task_id, lock_payload) VALUES ('bad', ?)", payload)
        case "configuration":
            await insert(tmp_path, "INSERT INTO druid_config (name, payload) VALUES ('worker.config', ?)", payload)
        case "audit":
            statement = (
                "INSERT INTO druid_audit (audit_key, type, author, comment, created_date, payload)"
                " VALUES ('worker.config', 'config', '', '', '2024-01-01T00:00:00.000Z', ?)"
            )
            await insert(tmp_path, statement, payload)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize(
    "where",
    [
        "payload of an active task",
        "status of an active task",
        "payload of an ended task",
        "status of an ended task",
        "lock",
        "configuration",
        "audit",
    ],
)
async def test_a_leader_starts_beside_a_broken_row_and_answers_everything(
    server: ServerHandle, tmp_path: Path, where: str, kind: str
) -> None:
    await spoil(tmp_path, where, BROKEN[kind])
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        mine = await submit(on, id="mine")
        for path in READS:
            answer = await on.get(API + path)
            assert answer.status_code == 200, f"{path}: {answer.text}"
        assert [task["id"] for task in (await on.get(f"{API}/tasks")).json()] == [mine]
        assert (await on.get(f"{API}/task/bad/status")).status_code == 404
        if where != "audit":
            assert "druid_metadata_unreadable_count{" in on.context.metrics.render()


async def test_an_active_task_that_cannot_be_read_is_ended_with_its_locks_by_a_shutdown(
    server: ServerHandle, tmp_path: Path
) -> None:
    await insert(tmp_path, TASK, "bad", "wiki", b"{", GOOD, True)
    lock = json.dumps(TaskLock("bad", "wiki", Interval.parse("2013/2014"), "v").to_json()).encode()
    await insert(tmp_path, "INSERT INTO druid_tasklocks (task_id, lock_payload) VALUES ('bad', ?)", lock)
    async with overlord(server, tmp_path, "o1") as on:
        leading = await leads(on)
        assert len(leading.actions.locks()) == 1
        assert (await on.post(f"{API}/task/bad/shutdown")).json() == {"task": "bad"}
        assert leading.actions.locks() == []
        assert (await on.post(f"{API}/task/bad/shutdown")).status_code == 404


@pytest.mark.parametrize("name", ["a😀", "a\ufffd", "a\x01", "a/b", "..", "a\x9f"])
@pytest.mark.parametrize("column", ["id", "datasource"])
async def test_a_stored_task_with_a_name_that_no_path_can_hold_is_passed_over(
    server: ServerHandle, tmp_path: Path, play: Play, column: str, name: str
) -> None:
    """It ended the Overlord, and every next leader."""
    task_id, data_source = (name, "wiki") if column == "id" else ("bad", name)
    payload = json.dumps({"id": task_id, "type": "noop", "dataSource": data_source}).encode()
    await insert(tmp_path, TASK, task_id, data_source, payload, GOOD, True)
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        leading = await leads(on)
        await worker.claim(await submit(on))
        assert leading.store.unreadable.count("druid_tasks") == 1
        for body in ({"id": name}, {"dataSource": name}, {"groupId": name}):
            answer = await on.post(f"{API}/task", {"type": "noop", **body})
            assert answer.status_code == 400, answer.text


async def test_a_worker_that_no_path_can_hold_is_passed_over(server: ServerHandle, tmp_path: Path, play: Play) -> None:
    payload = json.dumps({"id": "t", "type": "noop", "dataSource": "wiki"}).encode()
    await insert(tmp_path, TASK, "t", "wiki", payload, GOOD, True)
    attempt = "INSERT INTO coord_task_attempts (task_id, attempt, worker, begun_date) VALUES ('t', 1, ?, '2024')"
    await insert(tmp_path, attempt, "h😀:1")
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        await worker.claim(await submit(on))


async def test_what_the_tree_refuses_about_one_task_stops_no_other(
    server: ServerHandle, tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    assign = TaskQueue.assign

    async def refuse_one(self: TaskQueue, worker: str, task_id: str, task: Any, attempt: int) -> bool:
        if task_id == "a":
            raise NoAuthError(task_id)
        return await assign(self, worker, task_id, task, attempt)

    monkeypatch.setattr(TaskQueue, "assign", refuse_one)
    worker = await play("w:1", 5)
    async with overlord(server, tmp_path, "o1") as on:
        leading = await leads(on)
        await submit(on, id="a")
        await worker.claim(await submit(on, id="b"))
        await worker.claim(await submit(on, id="c"))
        assert on.role.leading is leading
        assert leading.listed(leading.tasks["a"]).status.state is TaskStatus.running("a").state


async def test_half_a_surrogate_pair_is_a_bad_request(server: ServerHandle, tmp_path: Path) -> None:
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        raw = rb'{"type": "noop", "context": {"x": "\ud800"}}'
        headers = {"Content-Type": "application/json"}
        answer = await on.context.http.post(f"{on.context.url}{API}/task", content=raw, headers=headers)
        assert (answer.status_code, "surrogate" in answer.json()["errorMessage"]) == (400, True)


@pytest.mark.parametrize("endpoint", [e for e, bodies in BODIES.items() if API in e and isinstance(bodies, list)])
async def test_a_body_with_a_key_that_nobody_reads_is_refused(
    server: ServerHandle, tmp_path: Path, endpoint: str
) -> None:
    method, path = endpoint.split(" ")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        for body in BODIES[endpoint]:
            answer = await on.context.http.request(method, on.context.url + path, json=body)
            assert answer.status_code == 400, f"{body}: {answer.text}"
            assert "unknown keys" in answer.json()["errorMessage"], f"{body}: {answer.text}"
        assert (await on.get(f"{API}/tasks")).json() == []
        assert (await on.get(f"{API}/worker/history")).json() == []


@pytest.mark.parametrize("key", ["segmentsToBeOverwritten", "segmentsToBeDropped", "startMetadata", "endMetadata"])
async def test_a_publication_that_asks_for_more_than_is_done_is_refused(
    server: ServerHandle, tmp_path: Path, play: Play, key: str
) -> None:
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        task = await worker.claim(await submit(on, dataSource="flights"))
        version = (await act(on, task, lock_action())).json()["result"]["version"]
        action = {**insert_action(version), "unheardOfByUs": True}
        refused = await act(on, task, {**action, key: [{"type": "x"}]})
        assert (refused.status_code, key in refused.json()["errorMessage"]) == (400, True)
        assert (await act(on, task, {**action, key: None})).json()["result"]["success"] is True


@pytest.mark.parametrize("version", ["v 1/ü", "v😀", "v\ufffd", "v\x01"])
async def test_a_segment_whose_version_no_path_can_hold_is_not_published(
    server: ServerHandle, tmp_path: Path, play: Play, version: str
) -> None:
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        task = await worker.claim(await submit(on, dataSource="flights"))
        refused = await act(on, task, insert_action(version))
        assert (refused.status_code, "segments: version" in refused.json()["errorMessage"]) == (400, True)
