"""Native queries (Druid documentation, "Native queries"): what is asked, read from JSON and checked whole.

`parse_query` raises BadQueryError or UnsupportedQueryError naming the field; what it returns can be run. A query keeps
its JSON, because a Broker passes on what it was given, with other intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from druidroles.model.decode import ModelError
from druidroles.model.granularity import Granularity
from druidroles.model.interval import ETERNITY, Interval, interval_texts
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.aggregators import Aggregator, parse_aggregators
from druidroles.query.dimensions import DimensionSpec, parse_dimension
from druidroles.query.errors import BadQueryError, UnsupportedQueryError
from druidroles.query.fields import Fields
from druidroles.query.filters import Filter, optional_filter
from druidroles.query.ordering import (
    Having,
    LimitSpec,
    TopNMetric,
    parse_having,
    parse_limit_spec,
    parse_metric,
    parse_scan_order,
)

DEFAULT_TIMEOUT_MS = 300_000  # Druid's druid.server.http.defaultQueryTimeout
MAX_TIMEOUT_MS = 3_600_000  # what a timeout of 0 ("none") means here: nothing runs for ever
TIME = "__time"
LONG_MAX = 2**63 - 1
# Druid's class for intervals without a type; its Router writes that name for one.
_LEGACY_INTERVALS = "LegacySegmentSpec"
# Types that Druid has and that are not here. Others are a mistake.
_OF_DRUID = frozenset({"dataSourceMetadata", "search", "segmentMetadata", "select", "windowOperator"})


@attrs.frozen(kw_only=True)
class Query:
    """What all queries have. `intervals` are sorted and do not touch; `segments` is set where pieces were named."""

    data_source: str
    intervals: tuple[Interval, ...]
    segments: tuple[SegmentDescriptor, ...] | None
    filter: Filter | None
    timeout_ms: int
    query_id: str | None
    json: Mapping[str, Any] = attrs.field(eq=False, repr=False)

    @property
    def start_ms(self) -> int:
        """Where its time begins, which is the timestamp of an `all` bucket."""
        return self.intervals[0].start_ms if self.intervals else 0

    def for_segments(self, descriptors: Sequence[SegmentDescriptor], timeout_ms: int) -> dict[str, Any]:
        """Its JSON for a data server: the same query over these pieces, within that time."""
        return {
            **self.json,
            "intervals": {"type": "segments", "segments": [descriptor.to_json() for descriptor in descriptors]},
            "context": {**(self.json.get("context") or {}), "timeout": timeout_ms},
        }


@attrs.frozen(kw_only=True)
class AggregateQuery(Query):
    """A query with buckets of time and aggregators."""

    granularity: Granularity
    aggregators: tuple[Aggregator, ...]


@attrs.frozen(kw_only=True)
class TimeseriesQuery(AggregateQuery):
    """One row a bucket. Empty buckets between others are rows too, unless `skip_empty`. `limit` 0 is none."""

    descending: bool
    skip_empty: bool
    limit: int


@attrs.frozen(kw_only=True)
class TopNQuery(AggregateQuery):
    """The `threshold` first values of a dimension by a metric, in each bucket."""

    dimension: DimensionSpec
    metric: TopNMetric
    threshold: int


@attrs.frozen(kw_only=True)
class GroupByQuery(AggregateQuery):
    """One row for each combination of dimension values in each bucket."""

    dimensions: tuple[DimensionSpec, ...]
    having: Having | None
    limit: LimitSpec


@attrs.frozen(kw_only=True)
class ScanQuery(Query):
    """Rows as they are. No `names`: all columns of each segment. `limit` 0 is none; `order` 1 up, -1 down, 0 any."""

    names: tuple[str, ...]
    compacted: bool
    batch_size: int
    limit: int
    offset: int
    order: int


@attrs.frozen(kw_only=True)
class TimeBoundaryQuery(Query):
    """The first and the last instant with data. `bound`: minTime, maxTime, or None for both."""

    bound: str | None


def parse_query(value: Any) -> Query:
    """Read a native query."""
    fields = Fields.of(value, "")
    kind = fields.need_str("queryType")
    parser = _PARSERS.get(kind)
    if parser is None:
        there_are = f"there are {', '.join(sorted(_PARSERS))}"
        if kind in _OF_DRUID:
            raise UnsupportedQueryError(f"queryType {kind!r} is not supported; {there_are}")
        raise BadQueryError(f"queryType {kind!r} is not a type of query; {there_are}")
    context = fields.inner("context") if fields.values.get("context") is not None else Fields.of({}, "context")
    fields.refuse("virtualColumns", "postAggregations")
    context.refuse("bySegment", "serializeDateTimeAsLong")
    return parser(fields, context)


def _common(fields: Fields, context: Fields, default: Interval | None = None) -> dict[str, Any]:
    intervals, segments = _parse_intervals(fields, default)
    timeout_ms = context.integer("timeout", DEFAULT_TIMEOUT_MS)
    return {
        "data_source": _parse_data_source(fields),
        "intervals": intervals,
        "segments": segments,
        "filter": optional_filter(fields),
        "timeout_ms": min(timeout_ms, MAX_TIMEOUT_MS) or MAX_TIMEOUT_MS,
        "query_id": context.opt_str("queryId"),
        "json": fields.values,
    }


def _parse_data_source(fields: Fields) -> str:
    if isinstance(fields.values.get("dataSource"), Mapping):
        table = fields.inner("dataSource")
        kind = table.need_str("type")
        if kind != "table":
            raise UnsupportedQueryError(f"dataSource.type {kind!r} is not supported; there is table")
        return table.need_str("name")
    return fields.need_str("dataSource")


def _parse_intervals(
    fields: Fields, default: Interval | None
) -> tuple[tuple[Interval, ...], tuple[SegmentDescriptor, ...] | None]:
    value = fields.values.get("intervals")
    if value is None and default is not None:
        return (default,), None
    if isinstance(value, Mapping):
        spec = fields.inner("intervals")
        kind = spec.opt_str("type") or _LEGACY_INTERVALS
        if kind == "segments":
            segments = tuple(_parse_descriptor(item) for item in spec.inners("segments"))
            return condense([segment.interval for segment in segments]), segments
        if kind not in ("intervals", _LEGACY_INTERVALS):
            raise UnsupportedQueryError(f"intervals.type {kind!r} is not supported; there are intervals, segments")
        fields, value = spec, spec.values.get("intervals")
    texts = interval_texts(value) if isinstance(value, str) else fields.items("intervals")
    if value is None:
        raise BadQueryError("intervals is missing")
    return condense([_parse_interval(text, fields.at("intervals")) for text in texts]), None


def _parse_interval(text: Any, path: str) -> Interval:
    if not isinstance(text, str):
        raise BadQueryError(f"{path} must hold strings")
    try:
        return Interval.parse(text)
    except ModelError as fault:
        raise BadQueryError(f"{path}: {fault}") from None


def _parse_descriptor(fields: Fields) -> SegmentDescriptor:
    try:
        return SegmentDescriptor.from_json(fields.values)
    except ModelError as fault:
        raise BadQueryError(f"{fields.path}: {fault}") from None


def condense(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The same time in as few intervals as can be, sorted; empty ones left out (Druid's condenseIntervals)."""
    merged: list[Interval] = []
    for interval in sorted(interval for interval in intervals if not interval.is_empty):
        if merged and interval.start_ms <= merged[-1].end_ms:
            merged[-1] = Interval(merged[-1].start_ms, max(merged[-1].end_ms, interval.end_ms))
        else:
            merged.append(interval)
    return tuple(merged)


def _aggregate(fields: Fields, context: Fields) -> dict[str, Any]:
    try:
        granularity = Granularity.parse(fields.values.get("granularity") or "all")
    except ModelError as fault:
        raise BadQueryError(f"granularity: {fault}") from None
    return {
        **_common(fields, context),
        "granularity": granularity,
        "aggregators": parse_aggregators(fields),
    }


def _timeseries(fields: Fields, context: Fields) -> Query:
    context.refuse("grandTotal", "timestampResultField")
    return TimeseriesQuery(
        **_aggregate(fields, context),
        descending=fields.boolean("descending"),
        skip_empty=context.boolean("skipEmptyBuckets"),
        limit=fields.integer("limit", 0),
    )


def _top_n(fields: Fields, context: Fields) -> Query:
    common = _aggregate(fields, context)
    dimension = parse_dimension(fields.values.get("dimension"), "dimension")
    return TopNQuery(
        **common,
        dimension=dimension,
        metric=parse_metric(fields, {aggregator.name for aggregator in common["aggregators"]}),
        threshold=fields.need_integer("threshold", least=1),
    )


def _group_by(fields: Fields, context: Fields) -> Query:
    fields.refuse("subtotalsSpec")
    context.refuse("resultAsArray", "sortByDimsFirst")
    common = _aggregate(fields, context)
    dimensions = tuple(
        parse_dimension(item, f"dimensions[{index}]") for index, item in enumerate(fields.items("dimensions"))
    )
    names = [spec.output_name for spec in dimensions] + [aggregator.name for aggregator in common["aggregators"]]
    for name in names:
        if names.count(name) > 1:
            raise BadQueryError(f"the output name {name!r} is given twice")
    return GroupByQuery(
        **common,
        dimensions=dimensions,
        having=None if fields.values.get("having") is None else parse_having(fields.inner("having"), set(names)),
        limit=parse_limit_spec(fields, set(names)),
    )


def _scan(fields: Fields, context: Fields) -> Query:
    columns = fields.items("columns")
    if not all(isinstance(name, str) for name in columns):
        raise BadQueryError("columns must hold strings")
    fields.refuse("legacy")
    form = fields.opt_str("resultFormat") or "list"
    if form not in ("list", "compactedList"):
        raise UnsupportedQueryError(f"resultFormat {form!r} is not supported; there are list, compactedList")
    order = parse_scan_order(fields, TIME)
    if order != "none" and columns and TIME not in columns:
        raise BadQueryError(f"order {order!r} needs {TIME} among the columns")
    return ScanQuery(
        **_common(fields, context),
        names=tuple(dict.fromkeys(columns)),
        compacted=form == "compactedList",
        batch_size=fields.integer("batchSize", 20_480, least=1),
        limit=limit if (limit := fields.integer("limit", 0)) < LONG_MAX else 0,  # Java's way to say that there is none
        offset=fields.integer("offset", 0),
        order={"none": 0, "ascending": 1, "descending": -1}[order],
    )


def _time_boundary(fields: Fields, context: Fields) -> Query:
    bound = fields.opt_str("bound")
    if bound not in (None, "", "minTime", "maxTime"):
        raise BadQueryError(f"bound {bound!r} is neither minTime nor maxTime")
    return TimeBoundaryQuery(**_common(fields, context, ETERNITY), bound=bound or None)


_PARSERS: dict[str, Callable[[Fields, Fields], Query]] = {
    "timeseries": _timeseries,
    "topN": _top_n,
    "groupBy": _group_by,
    "scan": _scan,
    "timeBoundary": _time_boundary,
}
