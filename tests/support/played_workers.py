"""An Overlord with workers that the test plays, each claiming and ending tasks when the test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from indexing import Running, noop, running, until

from coordserver.client import Client, connect
from coordserver.server.serve import ServerHandle
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.task_worker import Assignment, AssignmentView, WorkerTasks
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.server import NodeRole, Worker
from druidroles.model.task import TaskStatus
from druidroles.overlord.planning.values import QueueTimeouts
from druidroles.overlord.role import OverlordSettings, build
from druidroles.overlord.term import OverlordTerm

API = "/druid/indexer/v1"
QUICK = QueueTimeouts(assignment_timeout_ms=300, cleanup_timeout_ms=300, slow_claim_ms=100)
DAY = "2013-01-01/2013-01-02"


class Played:
    """A worker that claims when the test says so. `leave` takes its announcement away."""

    def __init__(self, zk: Client, host: str, view: AssignmentView) -> None:
        self.host = host
        self.tasks = WorkerTasks(zk, DruidPaths("/druid"), host)
        self.left = trio.Event()
        self._view = view

    async def offered(self, task_id: str) -> Assignment:
        """The assignment, once it is there."""

        async def there() -> Assignment | None:
            return self._view.assignments.get(task_id)

        found: Assignment = await until(there)
        return found

    async def claim(self, task_id: str) -> Assignment:
        """Take a task as soon as it is offered."""
        found = await self.offered(task_id)
        assert await self.tasks.claim(found)
        return found

    async def end(self, assignment: Assignment) -> None:
        """Say that it succeeded."""
        await self.tasks.say(assignment.announcement.with_status(TaskStatus.success(assignment.id, 1)))

    async def fail(self, assignment: Assignment) -> None:
        """Say that it failed."""
        await self.tasks.say(assignment.announcement.with_status(TaskStatus.failure(assignment.id, "killed", 1)))


Play = Callable[..., Awaitable[Played]]


def player(address: object, nursery: trio.Nursery) -> Play:
    """What starts a worker of a name and capacity."""

    async def live(host: str, capacity: int, more: dict[str, Any], *, task_status: trio.TaskStatus[Played]) -> None:
        paths = DruidPaths("/druid")
        async with connect(str(address), session_timeout=2) as zk, AssignmentView(zk, paths, host) as view:
            played = Played(zk, host, view)
            await played.tasks.prepare(0)
            async with played.tasks.announce(Worker(host, capacity=capacity, **more)):
                task_status.started(played)
                await played.left.wait()
            await trio.sleep_forever()

    async def start(host: str, capacity: int = 1, **more: Any) -> Played:
        played: Played = await nursery.start(live, host, capacity, more)
        return played

    return start


@asynccontextmanager
async def overlord(
    server: ServerHandle, tmp_path: Path, name: str, limits: QueueTimeouts = QUICK, **more: Any
) -> AsyncIterator[Running]:
    """An Overlord; all of a test share one store."""
    settings = OverlordSettings(metadata=tmp_path / "metadata.sqlite", limits=limits, **more)
    async with running(server.address, NodeRole.OVERLORD, tmp_path / name, partial(build, settings=settings)) as on:
        yield on


async def leads(on: Running) -> OverlordTerm:
    """Its term, once it leads."""

    async def term() -> OverlordTerm | None:
        leading: OverlordTerm | None = on.role.leading
        return leading

    found: OverlordTerm = await until(term)
    return found


async def submit(on: Running, **more: Any) -> str:
    response = await on.post(f"{API}/task", noop(**more))
    assert response.status_code == 200, response.text
    task_id: str = response.json()["task"]
    return task_id


async def act(on: Running, assignment: Assignment, action: dict[str, Any]) -> Any:
    return await on.post(f"{API}/action", {"task": dict(assignment.task), "action": action})


def lock_action(timeout_ms: int = 10_000) -> dict[str, Any]:
    return {"type": "lockAcquire", "lockType": "EXCLUSIVE", "interval": DAY, "timeoutMs": timeout_ms}


def insert_action(version: str) -> dict[str, Any]:
    segment = DataSegment("flights", Interval.parse(DAY), version, {"type": "local", "path": "/x"}, size=1)
    return {"type": "segmentTransactionalInsert", "segments": [segment.to_json()]}
