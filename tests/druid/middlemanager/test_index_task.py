"""Which interval a task locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from indexing import index_spec

from druidroles.middlemanager.index_task import umbrella
from druidroles.model.interval import Interval
from druidroles.segments.build import BuildResult, BuiltSegment, RowStats
from druidroles.segments.spec import IngestionSpec, parse_spec


def spec(**granularity: Any) -> IngestionSpec:
    return parse_spec(index_spec(Path("/input"), **granularity))


@pytest.mark.parametrize(
    ("granularity", "locked"),
    [
        ({}, None),
        ({"intervals": ["2013-01-01T10/2013-01-02T10"]}, "2013-01-01/2013-01-03"),
        ({"intervals": ["2013-01-05/2013-01-06", "2013-01-01/2013-01-02"]}, "2013-01-01/2013-01-06"),
        ({"intervals": ["2013-01-10/2013-01-11"], "segmentGranularity": "MONTH"}, "2013-01-01/2013-02-01"),
        ({"intervals": ["2013-01-10/2013-01-11"], "segmentGranularity": "all"}, "2013-01-10/2013-01-11"),
        ({"intervals": ["2013-01-10/2013-01-10"]}, None),
    ],
)
def test_named_intervals_are_locked_in_whole_time_chunks(granularity: dict[str, Any], locked: str | None) -> None:
    """Segments are whole chunks, and one lock must cover them all."""
    expected = None if locked is None else Interval.parse(locked)
    assert umbrella(spec(**granularity)) == expected


def test_without_intervals_the_data_tells() -> None:
    """From the first chunk to the last, gaps included; no data needs no lock."""
    days = [Interval.parse("2013-01-01/2013-01-02"), Interval.parse("2013-01-04/2013-01-05")]
    segments = tuple(BuiltSegment("flights", day, 0, 1, (), (), Path("x"), 1, 1) for day in days)
    assert umbrella(spec(), BuildResult(segments, RowStats())) == Interval.parse("2013-01-01/2013-01-05")
    assert umbrella(spec(), BuildResult((), RowStats())) is None
