"""A whole Coordinator in the test's own loop: real server, real store, its HTTP resources called without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio

from coordserver.client import Client, connect
from coordserver.client.transport import Host, Transport, dial_tcp
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.coordinator.cluster.departures import DepartureSettings
from druidroles.coordinator.role import Coordinator, CoordinatorSettings
from druidroles.coordinator.settings import TermSettings
from druidroles.http.app import make_app
from druidroles.metadata import LeaderEpoch, Publication, SqliteMetadataStore, TaskRow, open_sqlite_store
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.server import NodeRole
from druidroles.model.shardspec import numbered
from druidroles.model.task import TaskLock
from druidroles.process import RoleContext, RoleSettings

OVERLORD = LeaderEpoch(role="overlord", epoch=1)
SESSION_TIMEOUT_S = 2.0
DAMPING = DepartureSettings(grace_ms=500, stopping_grace_ms=500, mass_grace_ms=60_000)


class Cable:
    """The network between a client and the server, which can be cut and mended."""

    def __init__(self) -> None:
        self._is_cut = False
        self._open: list[Transport] = []

    async def dial(self, host: Host) -> Transport:
        """For `connect`."""
        if self._is_cut:
            raise OSError("the cable is cut")
        transport = await dial_tcp(host)
        self._open.append(transport)
        return transport

    async def cut(self) -> None:
        """Nothing gets through from now on."""
        self._is_cut = True
        while self._open:
            await self._open.pop().close()

    def mend(self) -> None:
        """New connections come about again."""
        self._is_cut = False


@attrs.frozen
class Running:
    """A Coordinator that runs, the cable it hangs on, and a client of its resources."""

    role: Coordinator
    zk: Client
    cable: Cable
    http: httpx2.AsyncClient

    async def get(self, path: str) -> Any:
        """The JSON of a GET that must be answered with 200."""
        response = await self.http.get(f"/druid/coordinator/v1{path}")
        assert response.status_code == 200, response.text
        return response.json()


class House:
    """One coordination server and one metadata store."""

    def __init__(self, address: str, metadata: Path, store: SqliteMetadataStore) -> None:
        self.address = address
        self.metadata = metadata
        self.store = store
        self.paths = DruidPaths()
        self._tasks = 0

    async def publish(self, *segments: DataSegment) -> None:
        """Publish segments as a task does, without telling anybody."""
        self._tasks += 1
        task = f"task{self._tasks}"
        await self.store.raise_epoch(OVERLORD)
        await self.store.insert_task(
            OVERLORD,
            TaskRow(
                id=task, data_source="wiki", type="noop", group_id=task, created_date="2024", payload={}, status={}
            ),
        )
        attempt = await self.store.begin_attempt(OVERLORD, task, "worker")
        assert attempt is not None
        span = Interval(min(s.interval.start_ms for s in segments), max(s.interval.end_ms for s in segments))
        lock = TaskLock(task, "wiki", span, segments[0].version)
        await self.store.add_lock(OVERLORD, task, lock.to_json(), ())
        await self.store.publish_segments(OVERLORD, Publication(task_id=task, attempt=attempt, segments=list(segments)))

    async def tell(self) -> None:
        """Bump `coord/published`, as the Overlord does after a publish."""
        async with connect(self.address, session_timeout=4) as zk:
            await zk.ensure_path(self.paths.coord_published)
            await zk.set(self.paths.coord_published, b"")

    def coordinator(self, port: int = 8081, *, accept_empty: bool = False) -> AbstractAsyncContextManager[Running]:
        """A Coordinator that runs while the block lasts."""
        return _coordinator(self, port, accept_empty)


@asynccontextmanager
async def _coordinator(house: House, port: int, accept_empty: bool) -> AsyncIterator[Running]:
    settings = RoleSettings(
        role=NodeRole.COORDINATOR,
        coord=CoordUrl.parse(f"coord://{house.address}/druid"),
        host="127.0.0.1",
        port=port,
        data_dir=house.metadata.parent,
        session_timeout_s=SESSION_TIMEOUT_S,
    )
    cable = Cable()
    async with (
        connect(house.address, session_timeout=SESSION_TIMEOUT_S, name=f"coordinator {port}", dial=cable.dial) as zk,
        httpx2.AsyncClient() as unused,
        trio.open_nursery() as nursery,
    ):
        context = RoleContext(settings, zk, house.paths, unused, f"127.0.0.1:{port}")
        leading = TermSettings(damping=DAMPING)
        told = CoordinatorSettings(metadata=house.metadata, accept_empty=accept_empty, leading=leading)
        role = Coordinator(context, told)
        transport = httpx2.ASGITransport(make_app(role.routes()))
        async with httpx2.AsyncClient(transport=transport, base_url=role.url) as http:
            await nursery.start(role.run)
            yield Running(role, zk, cable, http)
        nursery.cancel_scope.cancel(reason="the test stops it")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server and a store, both empty."""
    (tmp_path / "server").mkdir()
    metadata = tmp_path / "metadata.sqlite"
    async with embedded_server(tmp_path / "server") as handle, open_sqlite_store(metadata) as store:
        async with connect(str(handle.address)) as zk:
            for path in DruidPaths().layout():
                await zk.ensure_path(path)
        yield House(str(handle.address), metadata, store)


@pytest.fixture
def days() -> Callable[..., list[DataSegment]]:
    """Makes one segment a day."""

    def make(numbers: Iterable[int], version: str = "2024-01-01T00:00:00.000Z") -> list[DataSegment]:
        day_ms = 86_400_000
        return [
            DataSegment(
                "wiki",
                Interval(day * day_ms, (day + 1) * day_ms),
                version,
                load_spec={"type": "local", "path": f"/deep/{day}"},
                shard_spec=numbered(0, 1),
                size=10,
            )
            for day in numbers
        ]

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Polls until a condition is true; the test's own time limit bounds it."""

    async def wait(condition: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            value = await condition()
            if value:
                return value
            await trio.sleep(0.01)

    return wait
