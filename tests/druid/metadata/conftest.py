"""A store in a temporary file with a clock that moves by a second each time it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest

from druidroles.metadata import LeaderEpoch, SqliteMetadataStore, open_sqlite_store
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered

OVERLORD = LeaderEpoch(role="overlord", epoch=7)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteMetadataStore]:
    ticks = count(1_700_000_000_000, 1000)
    async with open_sqlite_store(tmp_path / "metadata.sqlite", clock=lambda: next(ticks)) as opened:
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
