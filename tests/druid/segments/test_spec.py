"""Ingestion specs: what is malformed or not supported is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from segment_files import changed, shipped_task, task

from druidroles.model.interval import Interval
from druidroles.segments.errors import SpecError
from druidroles.segments.spec import Dimension, Metric, parse_spec


def test_the_shipped_spec_is_read_whole() -> None:
    """What ships is what issue and documentation say: days, no rollup, no metrics, time from time_hour."""
    spec = parse_spec(shipped_task())
    assert spec.data_source == "flights"
    assert (spec.time_column, spec.time_format) == ("time_hour", "iso")
    assert spec.segment_granularity.to_json() == "DAY"
    assert spec.query_granularity.to_json() == "none"
    assert (spec.rollup, spec.metrics, spec.append) == (False, (), False)
    assert [item.name for item in spec.dimensions if item.type == "VARCHAR"] == ["carrier", "tailnum", "origin", "dest"]
    assert len(spec.dimensions) == 18


def test_defaults_are_druids() -> None:
    """Rollup is on, a segment has five million rows, the time is in `timestamp` in any format."""
    spec = parse_spec(
        task("", dataSchema__timestampSpec={}, dataSchema__granularitySpec=..., dataSchema__dimensionsSpec=...)
    )
    assert (spec.time_column, spec.time_format, spec.rollup) == ("timestamp", "auto", True)
    assert (spec.rows_per_segment, spec.dimensions) == (5_000_000, ())


def test_types_metrics_and_intervals_are_read() -> None:
    """Everything that shapes the segments arrives in the spec."""
    spec = parse_spec(
        task(
            "",
            dimensions=["a", {"name": "b", "type": "Long"}, {"name": "c", "type": "float"}],
            dataSchema__metricsSpec=[
                {"type": "count", "name": "n"},
                {"type": "doubleMax", "name": "m", "fieldName": "x"},
            ],
            dataSchema__granularitySpec__intervals=["2013-01-02/P1D", "2013-01-01/2013-01-02"],
            tuningConfig__partitionsSpec={"type": "dynamic", "maxRowsPerSegment": 7},
        )
    )
    assert spec.dimensions == (Dimension("a"), Dimension("b", "BIGINT"), Dimension("c", "DOUBLE"))
    assert spec.metrics == (Metric("n", "count"), Metric("m", "doubleMax", "x"))
    assert spec.intervals == (Interval.parse("2013-01-01/P1D"), Interval.parse("2013-01-02/P1D"))
    assert spec.rows_per_segment == 7


SCHEMA, IO = "spec__dataSchema__", "spec__ioConfig__"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("spec", ..., "spec is missing"),
        ("spec", 5, "spec is not an object"),
        ("spec__dataSchema", ..., "dataSchema is missing"),
        ("spec__ioConfig", [], "ioConfig is not an object"),
        ("spec__tuningConfig", 5, "tuningConfig is not an object"),
        (SCHEMA + "dataSource", ..., "dataSource is missing"),
        (SCHEMA + "dataSource", "a/b", "dataSource 'a/b'"),
        (SCHEMA + "dataSource", "..", "dataSource '..'"),
        (SCHEMA + "timestampSpec", ..., "timestampSpec is missing"),
        (SCHEMA + "timestampSpec", {"format": "ruby"}, "timestampSpec.format 'ruby'"),
        (SCHEMA + "dimensionsSpec", {"dimensions": ["a", "A"]}, "'a' is given twice"),
        (SCHEMA + "dimensionsSpec", {"dimensions": ["__Time"]}, "__time is the time column"),
        (SCHEMA + "dimensionsSpec", {"dimensions": [{"type": "json", "name": "x"}]}, "type 'json'"),
        (SCHEMA + "dimensionsSpec", {"dimensions": ["a", {"type": 5}]}, "dimensions[1]: type is not a string"),
        (SCHEMA + "dimensionsSpec", {"dimensions": [7]}, "dimensionsSpec.dimensions[0]"),
        (SCHEMA + "dimensionsSpec", {"useSchemaDiscovery": True}, "useSchemaDiscovery is not supported"),
        (SCHEMA + "metricsSpec", [{"type": "hyperUnique", "name": "x"}], "metricsSpec[0]: type 'hyperUnique'"),
        (SCHEMA + "metricsSpec", [{"type": "longSum", "name": "x"}], "metricsSpec[0]: fieldName is missing"),
        (SCHEMA + "granularitySpec", 5, "granularitySpec is not an object"),
        (SCHEMA + "granularitySpec", {"segmentGranularity": "FORTNIGHT"}, "granularitySpec.segmentGranularity"),
        (SCHEMA + "granularitySpec", {"intervals": ["x"]}, "granularitySpec.intervals"),
        (SCHEMA + "granularitySpec", {"type": "arbitrary"}, "granularitySpec.type 'arbitrary'"),
        (SCHEMA + "granularitySpec", {"rollup": "yes"}, "rollup is not a boolean"),
        (SCHEMA + "transformSpec", {"filter": {"type": "true"}}, "transformSpec: filter is not supported"),
        (IO + "inputSource", {"type": "s3"}, "inputSource.type 's3'"),
        (IO + "inputSource", {}, "inputSource: type is missing"),
        (IO + "inputSource", {"type": "local"}, "either baseDir or files"),
        (IO + "inputFormat", {"type": "json"}, "inputFormat.type 'json'"),
        (IO + "inputFormat", {"type": "csv"}, "columns, or findColumnsFromHeader"),
        (IO + "inputFormat", {"type": "csv", "columns": ["a"], "listDelimiter": "|"}, "listDelimiter is not supported"),
        (IO + "inputFormat", {"type": "tsv", "columns": ["a"], "delimiter": "||"}, "delimiter '||'"),
        ("spec__tuningConfig", {"partitionsSpec": {"type": "hashed"}}, "partitionsSpec.type 'hashed'"),
        ("spec__tuningConfig", {"maxRowsPerSegment": 0}, "maxRowsPerSegment must be at least 1"),
        ("spec__tuningConfig", {"forceGuaranteedRollup": True}, "forceGuaranteedRollup is not supported"),
    ],
)
def test_a_fault_is_named(path: str, value: Any, named: str) -> None:
    """The error's text is what a user sees of it, in the task's status."""
    with pytest.raises(SpecError) as caught:
        parse_spec(changed(task(""), **{path: value}))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
