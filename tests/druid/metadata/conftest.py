"""A store, in a temporary file and in PostgreSQL, with a clock that moves by a second each time it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path

import pytest
from postgres_server import ABSENT, PostgresServer, make_tables_of_druid, postgres_server

from druidroles.metadata import LeaderEpoch, open_sqlite_store
from druidroles.metadata.sql_store import SqlMetadataStore
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered

OVERLORD = LeaderEpoch(role="overlord", epoch=7)


Opening = Callable[[], AbstractAsyncContextManager[SqlMetadataStore]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests; each has a database of its own."""
    if ABSENT:
        pytest.skip(ABSENT)
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "postgres after Druid"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens one and the same store, as often as it is called."""
    ticks = count(1_700_000_000_000, 1000)

    def clock() -> int:
        return next(ticks)

    if request.param == "sqlite":
        return lambda: open_sqlite_store(tmp_path / "metadata.sqlite", clock=clock)
    url = request.getfixturevalue("postgres").database()
    if request.param == "postgres after Druid":
        make_tables_of_druid(url)
    from druidroles.metadata.postgres import open_postgres_store

    return lambda: open_postgres_store(url, clock=clock)


@pytest.fixture
async def store(opening: Opening) -> AsyncIterator[SqlMetadataStore]:
    async with opening() as opened:
        await opened.raise_epoch(OVERLORD, "http://127.0.0.1:8090")
        yield opened


@pytest.fixture
def overlord() -> LeaderEpoch:
    return OVERLORD


@pytest.fixture
def make_segment() -> Callable[..., DataSegment]:
    def make(day: int, version: str = "2024-01-01T00:00:00.000Z", partition: int = 0) -> DataSegment:
        return DataSegment(
            data_source="flights",
            interval=Interval.parse(f"2013-01-{day:02}/2013-01-{day + 1:02}"),
            version=version,
            load_spec={"type": "local", "path": f"/deep/{day}"},
            dimensions=("carrier", "origin"),
            shard_spec=numbered(partition, 1),
            size=100,
        )

    return make
