"""Small segments with real files, for tests of what stores, loads and announces them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from druidroles.deepstorage import DeepStorage
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.segments.format import BINARY_VERSION, write_options

VERSION = "2024-01-01T00:00:00.000Z"
DAY_MS = 86_400_000
START_MS = 1_356_998_400_000  # 2013-01-01


def make_segment(day: int = 1, partition: int = 0, **more: Any) -> DataSegment:
    """A segment of one day, counted from 2013-01-01."""
    start = START_MS + (day - 1) * DAY_MS
    fields: dict[str, Any] = {
        "data_source": "flights",
        "interval": Interval(start, start + DAY_MS),
        "version": VERSION,
        "load_spec": {"type": "local", "path": f"/deep/{day}/index.parquet"},
        "dimensions": ("carrier", "origin"),
        "metrics": ("distance",),
        "shard_spec": numbered(partition, 1),
        "binary_version": BINARY_VERSION,
        "size": 100,
    }
    return DataSegment(**(fields | more))


def write_segment_file(path: Path, segment: DataSegment, rows: int = 3) -> Path:
    """A segment file with `rows` rows, an hour apart."""
    start = segment.interval.start_ms
    connection = duckdb.connect(":memory:")
    connection.execute(
        f"COPY (SELECT {start} + i * 3600000 AS __time, 'UA' AS carrier, i AS distance FROM range({rows}) AS r(i)) "
        f"TO '{path}' ({write_options()})"
    )
    connection.close()
    return path


def push_segment(storage: DeepStorage, directory: Path, day: int = 1, rows: int = 3, **more: Any) -> DataSegment:
    """Build a segment's file and push it; the segment as it is published."""
    segment = make_segment(day, **more)
    file = write_segment_file(directory / "built.parquet", segment, rows)
    return storage.push(segment, file)
