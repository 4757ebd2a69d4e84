"""Segment files rewritten: columns that differ, types that changed, parts that do not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.segments.compaction import parse_compaction
from druidroles.segments.errors import SegmentFileError
from druidroles.segments.format import exactly, write_options
from druidroles.segments.rewrite import Piece, kept_chunks, rewrite_segments

DAYS = [Interval.parse(f"2013-01-0{day}/2013-01-0{day + 1}") for day in (1, 2, 3)]
HOUR_MS = 3_600_000


def piece(tmp_path: Path, day: int, columns: str, dimensions: str, metrics: str = "", version: str = "v1") -> Piece:
    """A file of two rows, at the start of the day and an hour before its end."""
    path = tmp_path / f"[{day}] {version}.parquet"
    start, end = DAYS[day].start_ms, DAYS[day].end_ms
    rows = f"SELECT unnest([{start}, {end - HOUR_MS}])::BIGINT AS __time, {columns}"
    duckdb.execute(f"COPY ({rows}) TO '{path}' ({write_options()})")
    names, measured = tuple(dimensions.split(",")), tuple(name for name in metrics.split(",") if name)
    return Piece(DataSegment("flights", DAYS[day], version, None, names, measured), path, DAYS[day])


def rewritten(tmp_path: Path, pieces: list[Piece], **task: Any) -> tuple[list[Any], list[tuple[Any, ...]]]:
    work = tmp_path / "work"
    work.mkdir()
    whole = {"dataSource": "flights", "interval": "2013-01-01/2013-01-04", **task}
    built = rewrite_segments(parse_compaction(whole), pieces, work)
    paths = [exactly(one.path) for one in built.segments]
    table = duckdb.execute("SELECT * FROM read_parquet(?, union_by_name = true) ORDER BY __time", [paths])
    return list(built.segments), table.fetchall()


def test_columns_are_those_of_all_the_newest_first(tmp_path: Path) -> None:
    """What a file does not have is null; of a type that changed the newest counts, and what does not fit it is null."""
    pieces = [
        piece(tmp_path, 0, "'x' AS a, 'old' AS b, 1::BIGINT AS n", "a,b", "n"),
        piece(tmp_path, 1, "7::BIGINT AS b, 'y' AS c, 2.5::DOUBLE AS n", "b,c", "n"),
    ]
    month = {"segmentGranularity": {"type": "period", "period": "P3D", "origin": "2013-01-01T00:00:00Z"}}
    segments, rows = rewritten(tmp_path, pieces, granularitySpec=month)
    assert [segment.interval for segment in segments] == [Interval.parse("2013-01-01/2013-01-04")]
    assert (segments[0].dimensions, segments[0].metrics) == (("b", "c", "a"), ("n",))
    assert [row[1:] for row in rows] == [(None, None, "x", 1.0)] * 2 + [(7, "y", None, 2.5)] * 2


def test_what_does_not_show_is_left_out(tmp_path: Path) -> None:
    """A piece counts within its interval only."""
    whole = piece(tmp_path, 0, "'x' AS a", "a")
    half = Interval(DAYS[0].start_ms, DAYS[0].start_ms + HOUR_MS)
    segments, rows = rewritten(tmp_path, [Piece(whole.segment, whole.path, half)])
    assert [segment.interval for segment in segments] == [half]
    assert rows == [(DAYS[0].start_ms, "x")]


def test_dimensions_that_are_named_are_all(tmp_path: Path) -> None:
    """In the order given and of the types given."""
    pieces = [piece(tmp_path, 0, "'x' AS a, '12' AS b", "a,b")]
    named = {"dimensions": [{"type": "long", "name": "b"}, "gone"]}
    segments, rows = rewritten(tmp_path, pieces, dimensionsSpec=named)
    assert segments[0].dimensions == ("b", "gone")
    assert [row[1:] for row in rows] == [(12, None)] * 2


def test_kept_chunks() -> None:
    """Each once, in order; overlapping ones are one."""
    segment = DataSegment("flights", DAYS[0], "v")
    wide = Interval(DAYS[0].start_ms, DAYS[1].start_ms + HOUR_MS)
    pieces = [Piece(segment, Path("x"), interval) for interval in (DAYS[2], wide, DAYS[1], DAYS[2])]
    assert kept_chunks(pieces) == [Interval(DAYS[0].start_ms, DAYS[1].end_ms), DAYS[2]]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(SegmentFileError, match=r"bad\.parquet"):
        rewritten(tmp_path, [Piece(DataSegment("flights", DAYS[0], "v"), path, DAYS[0])])
