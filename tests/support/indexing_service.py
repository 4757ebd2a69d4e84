"""An Overlord and a MiddleManager in the test's own loop, their tasks in processes of their own, and some input."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import duckdb
import pytest
from indexing import Running, ended, running

from coordserver.testing.embedded import embedded_server
from druidroles.metadata import open_sqlite_store
from druidroles.middlemanager.role import MiddleManagerSettings
from druidroles.middlemanager.role import build as build_worker
from druidroles.model.segment import DataSegment
from druidroles.model.server import NodeRole
from druidroles.overlord.role import OverlordSettings
from druidroles.overlord.role import build as build_overlord

CSV = """time,carrier,delay
2013-01-01T05:00:00Z,UA,2
2013-01-01T06:00:00Z,AA,NA
2013-01-02T05:00:00Z,UA,-1
2013-01-04T05:00:00Z,B6,7
"""


@attrs.frozen
class Service:
    """An Overlord and a MiddleManager."""

    overlord: Running
    worker: Running
    directory: Path


@asynccontextmanager
async def middle_manager(address: object, tmp_path: Path, capacity: int, port: int = 0) -> AsyncIterator[Running]:
    """A MiddleManager on the same data directory each time."""
    settings = MiddleManagerSettings(
        deep_storage=tmp_path / "deep", capacity=capacity, task_port=0, input_dirs=(tmp_path,)
    )
    build_it = partial(build_worker, settings=settings)
    async with running(address, NodeRole.MIDDLE_MANAGER, tmp_path / "worker", build_it, port) as on:
        yield on


@asynccontextmanager
async def service(tmp_path: Path, capacity: int = 2) -> AsyncIterator[Service]:
    (tmp_path / "server").mkdir()
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "flights.csv").write_text(CSV)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(embedded_server(tmp_path / "server"))
        overlord_settings = OverlordSettings(metadata=tmp_path / "metadata.sqlite")
        overlord = await stack.enter_async_context(
            running(
                server.address,
                NodeRole.OVERLORD,
                tmp_path / "overlord",
                partial(build_overlord, settings=overlord_settings),
            )
        )
        worker = await stack.enter_async_context(middle_manager(server.address, tmp_path, capacity))
        yield Service(overlord, worker, tmp_path)


async def done(on: Service, task: dict[str, Any], code: str = "SUCCESS") -> dict[str, Any]:
    """Submit a task and wait for its end, which must be this one; its status."""
    response = await on.overlord.post("/druid/indexer/v1/task", task)
    assert response.status_code == 200, response.text
    status = await ended(on.overlord, response.json()["task"])
    if status["statusCode"] != code:
        log = await on.overlord.get(f"/druid/indexer/v1/task/{status['id']}/log")
        pytest.fail(f"{status['statusCode']}: {status['errorMsg']}\n{log.text[-3000:]}")
    return status


async def used(on: Service) -> list[DataSegment]:
    """The used segments in the store."""
    async with open_sqlite_store(on.directory / "metadata.sqlite") as store:
        return await store.used_segments()


def rows(segments: list[DataSegment]) -> list[tuple[Any, ...]]:
    """What the files of segments hold: day and hour, carrier, delay."""
    paths = [str((segment.load_spec or {})["path"]) for segment in segments]
    found = duckdb.execute("SELECT __time // 3600000, carrier, delay FROM read_parquet(?) ORDER BY ALL", [paths])
    return found.fetchall()
