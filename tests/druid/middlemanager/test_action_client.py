"""A task's requests: sent again until a leader has answered, and not again once it has refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from coordserver.client import Client, connect
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.leaders import LeaderView
from druidroles.middlemanager import overlord_client
from druidroles.middlemanager.action_client import ActionClient, ActionFailedError
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock

DAY = Interval.parse("2013-01-01/2013-01-02")
LOCK = TaskLock("t1", "flights", DAY, "2024-01-01T00:00:00.000Z")
TASK = {"id": "t1", "type": "noop", "coord": {"attempt": 1}}
LATCH = "/druid/overlord/_OVERLORD"
Asked = tuple[str, dict[str, Any]]


@pytest.fixture
async def zk(tmp_path: Path) -> AsyncIterator[Client]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle, connect(handle.address, session_timeout=4) as client:
        await client.ensure_path(LATCH)
        yield client


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlord_client, "RETRY_S", 0.01)


async def contend(zk: Client, url: str) -> str:
    return (await zk.create(f"{LATCH}/_c_x-latch-", url.encode(), ephemeral=True, sequence=True)).path


def scripted(asked: list[Asked], *answers: httpx2.Response | Exception) -> httpx2.AsyncClient:
    """A client whose peers answer in this order, the last one for ever."""
    left = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.url.host, json.loads(request.content)))
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return httpx2.Response(one.status_code, content=one.content)

    return httpx2.AsyncClient(transport=httpx2.MockTransport(answer))


def result(value: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"result": value})


async def test_an_action_waits_for_a_leader_that_answers(zk: Client) -> None:
    """No leader yet, one that cannot be reached, one that does not lead (any more): each time again."""
    asked: list[Asked] = []
    answers = [httpx2.ConnectError("refused"), httpx2.Response(307), httpx2.Response(503), result(LOCK.to_json())]
    async with scripted(asked, *answers) as http, LeaderView(zk, LATCH) as leaders, trio.open_nursery() as nursery:
        locks: list[TaskLock] = []

        async def acquire() -> None:
            locks.append(await ActionClient(TASK, leaders, http).acquire_lock(DAY))

        nursery.start_soon(acquire)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert asked == []
        await contend(zk, "http://o1:1")
        await contend(zk, "http://o2:1")
    assert locks == [LOCK]
    assert [host for host, _ in asked] == ["o1"] * 4
    assert all(body["task"] == TASK and body["action"]["type"] == "lockAcquire" for _, body in asked)


async def test_the_next_leader_is_asked(zk: Client) -> None:
    """As soon as the tree names it."""
    asked: list[Asked] = []
    first = await contend(zk, "http://o1:1")
    await contend(zk, "http://o2:1")
    async with scripted(asked, httpx2.Response(503), result(LOCK.to_json())) as http, LeaderView(zk, LATCH) as leaders:
        await leaders.wait_synced()
        await zk.delete(first)
        while leaders.url != "http://o2:1":
            await leaders.changed()
        await ActionClient(TASK, leaders, http).acquire_lock(DAY)
    assert [host for host, _ in asked] == ["o2", "o2"]


async def test_a_lock_is_asked_for_until_it_is_granted(zk: Client) -> None:
    """Null is "not yet"; a revoked one is no lock."""
    asked: list[Asked] = []
    await contend(zk, "http://o1:1")
    revoked = {**LOCK.to_json(), "revoked": True}
    async with LeaderView(zk, LATCH) as leaders:
        async with scripted(asked, result(None), result(LOCK.to_json())) as http:
            assert await ActionClient(TASK, leaders, http).acquire_lock(DAY) == LOCK
        async with scripted(asked, result(revoked)) as http:
            with pytest.raises(ActionFailedError, match="revoked"):
                await ActionClient(TASK, leaders, http).acquire_lock(DAY)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (result({"success": False, "errorMsg": "no lock covers it"}), "no lock covers it"),
        (httpx2.Response(400, json={"errorMessage": "attempt 1 is superseded"}), "superseded"),
        (httpx2.Response(500, text="oops"), "oops"),
        (result(None), "None"),
    ],
)
async def test_a_refusal_is_final(zk: Client, answer: httpx2.Response, said: str) -> None:
    """The task fails with the Overlord's words."""
    asked: list[Asked] = []
    await contend(zk, "http://o1:1")
    segment = DataSegment("flights", DAY, LOCK.version)
    async with scripted(asked, answer) as http, LeaderView(zk, LATCH) as leaders:
        with pytest.raises(ActionFailedError, match=said):
            await ActionClient(TASK, leaders, http).publish([segment])
    assert len(asked) == 1


async def test_a_leader_that_hangs_is_not_waited_for_once_another_leads(zk: Client) -> None:
    """It was stopped in the middle of its answer; the action goes to the next one, and is the same."""
    asked: list[str] = []
    hanging = trio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        if request.url.host == "o1":
            hanging.set()
            await trio.sleep_forever()
        return result(LOCK.to_json())

    first = await contend(zk, "http://o1:1")
    await contend(zk, "http://o2:1")
    transport = httpx2.MockTransport(answer)
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        LeaderView(zk, LATCH) as leaders,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ActionClient(TASK, leaders, http).acquire_lock, DAY)
        await hanging.wait()
        await zk.delete(first)
    assert asked == ["o1", "o2"]


async def test_a_lock_may_have_a_time_limit(zk: Client) -> None:
    """Two sub-tasks that wait for each other's time chunks do not wait for ever."""
    asked: list[Asked] = []
    await contend(zk, "http://o1:1")
    async with scripted(asked, result(None)) as http, LeaderView(zk, LATCH) as leaders:
        with pytest.raises(ActionFailedError, match="not to be had"):
            await ActionClient(TASK, leaders, http).acquire_lock(DAY, 0.05)
    assert asked
