"""The ingestion spec of an `index_parallel` task (Druid documentation, "JSON-based batch"), read and checked whole.

What is not supported is refused by name, never ignored, where ignoring it would change the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from druidroles.model.decode import (
    ModelError,
    as_object,
    get_bool,
    get_int,
    get_list,
    get_object,
    need_object,
    need_str,
    only_keys,
    opt_str,
)
from druidroles.model.granularity import Granularity
from druidroles.model.interval import Interval
from druidroles.model.names import check_name
from druidroles.segments.errors import SpecError
from druidroles.segments.inputs import InputFormat, InputSource, parse_input_format, parse_input_source
from druidroles.segments.times import FORMATS

# Druid's dimension and metric types, and what holds them in a file. Druid's float has half the digits of its double.
COLUMN_TYPES = {"string": "VARCHAR", "long": "BIGINT", "float": "DOUBLE", "double": "DOUBLE"}
METRIC_TYPES = {
    "count": "BIGINT",
    "longSum": "BIGINT",
    "longMin": "BIGINT",
    "longMax": "BIGINT",
    "doubleSum": "DOUBLE",
    "doubleMin": "DOUBLE",
    "doubleMax": "DOUBLE",
}
# The keys that are read, or refused by their own name. `tuningConfig` is free: much in it tunes what is not here.
_SPEC_KEYS = ("type", "dataSchema", "ioConfig", "tuningConfig")
_IO_KEYS = ("type", "inputSource", "inputFormat", "appendToExisting", "dropExisting", "firehose")
_SCHEMA_KEYS = (
    "dataSource",
    "timestampSpec",
    "dimensionsSpec",
    "metricsSpec",
    "granularitySpec",
    "transformSpec",
    "parser",
    "projections",
)
ROWS_PER_SEGMENT = 5_000_000  # Druid's DynamicPartitionsSpec.DEFAULT_MAX_ROWS_PER_SEGMENT


@attrs.frozen
class Dimension:
    """A column that comes from the input as it is. `type` is DuckDB's name."""

    name: str
    type: str = "VARCHAR"


@attrs.frozen
class Metric:
    """A column that is aggregated at ingestion; `field` None for a count."""

    name: str
    kind: str
    field: str | None = None

    @property
    def type(self) -> str:
        """DuckDB's name of its type."""
        return METRIC_TYPES[self.kind]


@attrs.frozen(kw_only=True)
class IngestionSpec:
    """What to read and what to make of it. Without `dimensions` all columns of the input become string dimensions."""

    data_source: str
    time_column: str
    time_format: str
    time_missing: str | None
    dimensions: tuple[Dimension, ...]
    exclusions: frozenset[str]
    metrics: tuple[Metric, ...]
    segment_granularity: Granularity
    query_granularity: Granularity
    rollup: bool
    intervals: tuple[Interval, ...]
    input_source: InputSource
    input_format: InputFormat
    rows_per_segment: int
    append: bool


def parse_spec(task: Mapping[str, Any]) -> IngestionSpec:
    """Read the `spec` of a task; raises SpecError naming the field at fault."""
    with within("the task"):
        spec = need_object(task, "spec")
    with within("spec"):
        schema, io = need_object(spec, "dataSchema"), need_object(spec, "ioConfig")
        tuning = get_object(spec, "tuningConfig") or {}
        only_keys(spec, _SPEC_KEYS, "it")
    with within("dataSchema"):
        parts = {**_parse_schema(schema), **_parse_granularity(get_object(schema, "granularitySpec") or {})}
    with within("ioConfig"):
        only_keys(io, _IO_KEYS, "it")
        refuse(io, "dropExisting", "firehose")
        source, form = need_object(io, "inputSource"), need_object(io, "inputFormat")
        append = get_bool(io, "appendToExisting", False)
    with within("ioConfig.inputSource"):
        input_source = parse_input_source(source)
    with within("ioConfig.inputFormat"):
        input_format = parse_input_format(form)
    with within("tuningConfig"):
        rows = parse_rows_per_segment(tuning)
    return IngestionSpec(
        **parts, input_source=input_source, input_format=input_format, rows_per_segment=rows, append=append
    )


@contextmanager
def within(path: str) -> Iterator[None]:
    """Say where the fault lies that a field's reader found."""
    try:
        yield
    except ModelError as fault:
        raise SpecError(f"{path}: {fault}") from None


def refuse(obj: Mapping[str, Any], *keys: str) -> None:
    """ModelError if one of these fields holds anything but null, false or emptiness."""
    for key in keys:
        if obj.get(key) not in (None, False, "", [], {}):
            raise ModelError(f"{key} is not supported")


def _parse_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    only_keys(schema, _SCHEMA_KEYS, "it")
    refuse(schema, "parser", "projections")
    transforms = get_object(schema, "transformSpec") or {}
    with within("dataSchema.transformSpec"):
        refuse(transforms, "filter", "transforms")
    data_source = need_str(schema, "dataSource")
    check_name(data_source, "dataSource")
    timestamp = need_object(schema, "timestampSpec")
    time_format = opt_str(timestamp, "format") or "auto"
    if time_format not in FORMATS:
        raise SpecError(f"timestampSpec.format {time_format!r} is not supported; there are {', '.join(FORMATS)}")
    dimensions = get_object(schema, "dimensionsSpec") or {}
    with within("dimensionsSpec"):
        refuse(dimensions, "spatialDimensions", "useSchemaDiscovery", "includeAllDimensions")
        items = get_list(dimensions, "dimensions")
    named = tuple(parse_dimension(item, f"dimensionsSpec.dimensions[{n}]") for n, item in enumerate(items))
    metrics = tuple(parse_metric(item, f"metricsSpec[{n}]") for n, item in enumerate(get_list(schema, "metricsSpec")))
    check_names([item.name for item in named] + [item.name for item in metrics])
    return {
        "data_source": data_source,
        "time_column": opt_str(timestamp, "column") or "timestamp",
        "time_format": time_format,
        "time_missing": opt_str(timestamp, "missingValue"),
        "dimensions": named,
        "exclusions": frozenset(str(name) for name in get_list(dimensions, "dimensionExclusions")),
        "metrics": metrics,
    }


def _parse_granularity(spec: Mapping[str, Any]) -> dict[str, Any]:
    with within("granularitySpec"):
        only_keys(spec, ("type", "segmentGranularity", "queryGranularity", "rollup", "intervals"), "it")
    kind = opt_str(spec, "type") or "uniform"
    if kind != "uniform":
        raise SpecError(f"granularitySpec.type {kind!r} is not supported; there is uniform")
    with within("granularitySpec.segmentGranularity"):
        segment = Granularity.parse(spec.get("segmentGranularity") or "DAY")
    with within("granularitySpec.queryGranularity"):
        query = Granularity.parse(spec.get("queryGranularity") or "none")
    with within("granularitySpec.intervals"):
        intervals = tuple(sorted(Interval.parse(str(text)) for text in get_list(spec, "intervals")))
    return {
        "segment_granularity": segment,
        "query_granularity": query,
        "rollup": get_bool(spec, "rollup", True),
        "intervals": intervals,
    }


def parse_dimension(value: Any, path: str) -> Dimension:
    """Read one of `dimensionsSpec.dimensions`; `path` says where it lies. Raises SpecError."""
    if isinstance(value, str):
        return Dimension(value)
    with within(path):
        obj = as_object(value, "a dimension that is not a name")
        kind, name = (opt_str(obj, "type") or "string").lower(), need_str(obj, "name")
    if kind not in COLUMN_TYPES:
        raise SpecError(f"{path}: type {kind!r} of {name!r} is not supported; there are {', '.join(COLUMN_TYPES)}")
    return Dimension(name, COLUMN_TYPES[kind])


def parse_metric(value: Any, path: str) -> Metric:
    """Read one of `metricsSpec`; `path` says where it lies. Raises SpecError."""
    with within(path):
        obj = as_object(value, "a metric")
        kind, name = need_str(obj, "type"), need_str(obj, "name")
        if kind not in METRIC_TYPES:
            raise ModelError(f"type {kind!r} of {name!r} is not supported; there are {', '.join(METRIC_TYPES)}")
        return Metric(name, kind, None if kind == "count" else need_str(obj, "fieldName"))


def check_names(names: Sequence[str]) -> None:
    """SpecError if columns cannot have these names together."""
    # Files and SQL do not tell names apart by case alone.
    folded = [name.casefold() for name in names]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise SpecError(f"the column name {name!r} is given twice")
        if name.casefold() == "__time":
            raise SpecError("__time is the time column and cannot be a dimension or metric")


def parse_rows_per_segment(tuning: Mapping[str, Any]) -> int:
    """Read what `tuningConfig` says of the size of segments; raises SpecError, or ModelError."""
    refuse(tuning, "forceGuaranteedRollup")
    partitions = get_object(tuning, "partitionsSpec") or {}
    kind = opt_str(partitions, "type") or "dynamic"
    if kind != "dynamic":
        raise SpecError(f"partitionsSpec.type {kind!r} is not supported; there is dynamic")
    rows = get_int(partitions, "maxRowsPerSegment", get_int(tuning, "maxRowsPerSegment", ROWS_PER_SEGMENT))
    if rows < 1:
        raise SpecError(f"maxRowsPerSegment must be at least 1, not {rows}")
    return rows
