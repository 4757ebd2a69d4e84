"""The spec of a `compact` task (Druid documentation, "Manual compaction"), read and checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from druidroles.model.decode import (
    ModelError,
    get_bool,
    get_list,
    get_object,
    need_object,
    need_str,
    only_keys,
    opt_str,
)
from druidroles.model.granularity import Granularity
from druidroles.model.interval import Interval
from druidroles.segments.errors import SpecError
from druidroles.segments.spec import (
    Dimension,
    Metric,
    check_names,
    parse_dimension,
    parse_metric,
    parse_rows_per_segment,
    refuse,
    within,
)


@attrs.frozen(kw_only=True)
class CompactionSpec:
    """What to rewrite, and into what. `segment_granularity` None keeps the time chunks that there are.

    Without `dimensions` all columns stay, newest segments first; `metrics` None keeps those there are, as they are.
    """

    data_source: str
    interval: Interval
    segment_granularity: Granularity | None
    query_granularity: Granularity
    rollup: bool
    dimensions: tuple[Dimension, ...]
    metrics: tuple[Metric, ...] | None
    rows_per_segment: int


def parse_compaction(task: Mapping[str, Any]) -> CompactionSpec:
    """Read a task; raises SpecError naming the field at fault."""
    with within("the task"):
        refuse(task, "segments", "segmentGranularity", "metadata", "projections")
        data_source, interval = need_str(task, "dataSource"), _interval(task)
        granularity = get_object(task, "granularitySpec") or {}
        tuning = get_object(task, "tuningConfig") or {}
        transforms = get_object(task, "transformSpec") or {}
        dimensions = get_object(task, "dimensionsSpec") or {}
        metrics = task.get("metricsSpec")
        named_metrics = get_list(task, "metricsSpec")
    with within("transformSpec"):
        refuse(transforms, "filter", "transforms")
    with within("dimensionsSpec"):
        refuse(dimensions, "spatialDimensions", "useSchemaDiscovery", "dimensionExclusions")
        named = get_list(dimensions, "dimensions")
    with within("granularitySpec"):
        only_keys(granularity, ("segmentGranularity", "queryGranularity", "rollup"), "it")
        segment = granularity.get("segmentGranularity")
        chunks = None if segment is None else Granularity.parse(segment)
        cut = Granularity.parse(granularity.get("queryGranularity") or "none")
        rollup = get_bool(granularity, "rollup", False)
    with within("tuningConfig"):
        rows = parse_rows_per_segment(tuning)
    spec = CompactionSpec(
        data_source=data_source,
        interval=interval,
        segment_granularity=chunks,
        query_granularity=cut,
        rollup=rollup,
        dimensions=tuple(parse_dimension(item, f"dimensionsSpec.dimensions[{n}]") for n, item in enumerate(named)),
        metrics=None
        if metrics is None
        else tuple(parse_metric(item, f"metricsSpec[{n}]") for n, item in enumerate(named_metrics)),
        rows_per_segment=rows,
    )
    _check(spec)
    return spec


def _interval(task: Mapping[str, Any]) -> Interval:
    io = get_object(task, "ioConfig")
    if io is None:
        return Interval.parse(need_str(task, "interval"))
    only_keys(io, ("type", "inputSpec", "dropExisting", "allowNonAlignedInterval"), "ioConfig")
    refuse(io, "dropExisting", "allowNonAlignedInterval")
    given = need_object(io, "inputSpec")
    only_keys(given, ("type", "interval", "sha256OfSortedSegmentIds"), "ioConfig.inputSpec")
    kind = opt_str(given, "type") or "interval"
    if kind != "interval":
        raise ModelError(f"ioConfig.inputSpec.type {kind!r} is not supported; there is interval")
    return Interval.parse(need_str(given, "interval"))


def _check(spec: CompactionSpec) -> None:
    if spec.interval.is_empty:
        raise SpecError(f"the interval {spec.interval} is empty")
    if spec.rollup and spec.metrics is None:
        # Segment files have the metrics' values but not how they were aggregated.
        raise SpecError("metricsSpec is missing: with granularitySpec.rollup it must say how to aggregate")
    check_names([item.name for item in spec.dimensions] + [item.name for item in spec.metrics or ()])
    chunks = spec.segment_granularity
    if chunks is not None and not _is_aligned(spec.interval, chunks):
        raise SpecError(f"the interval {spec.interval} is not aligned with segmentGranularity {chunks.to_json()}")


def _is_aligned(interval: Interval, granularity: Granularity) -> bool:
    """Whether no time chunk reaches beyond the interval: what lies outside of it is not read, and would be lost."""
    first, last = granularity.bucket(interval.start_ms), granularity.bucket(interval.end_ms - 1)
    return first.start_ms == interval.start_ms and last.end_ms == interval.end_ms
