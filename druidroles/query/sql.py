"""Aggregate queries as SQL: filter, bucket of time, groups, aggregators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import attrs

from druidroles.model.granularity import DurationGranularity, Granularity, PeriodGranularity
from druidroles.model.interval import Interval
from druidroles.query.aggregators import Aggregator, AggregatorKind
from druidroles.query.dimensions import DimensionSpec
from druidroles.query.errors import ResourceLimitError
from druidroles.query.filters import Filter
from druidroles.query.model import AggregateQuery, GroupByQuery, TopNQuery
from druidroles.query.relation import TIME, Relation
from druidroles.query.sql_filters import Columns, filter_sql
from druidroles.query.sqltext import Column, Parameters, quoted

BUCKETS_MAX = 200_000  # of time in one query; a minute's granularity over four months
TOP_N_MIN = 1000  # what each server gives of a topN at least, Druid's minTopNThreshold


@attrs.frozen
class Statement:
    """SQL and the values of its parameters."""

    text: str
    parameters: Parameters


def is_uniform(granularity: Granularity) -> bool:
    """Whether all buckets have one length, so that arithmetic finds them; others follow a calendar."""
    if isinstance(granularity, PeriodGranularity):
        return granularity.time_zone == "UTC" and granularity.period.months == 0
    return isinstance(granularity, DurationGranularity)


def bucket_starts(granularity: Granularity, extent: Interval) -> list[int]:
    """The starts of the buckets that overlap an interval; ResourceLimitError beyond BUCKETS_MAX."""
    if is_uniform(granularity):
        first = granularity.bucket(extent.start_ms)
        starts: Iterable[int] = range(first.start_ms, extent.end_ms, first.duration_ms)
    else:
        starts = (bucket.start_ms for bucket in granularity.buckets(extent))
    found = list(islice(starts, BUCKETS_MAX + 1))
    if len(found) > BUCKETS_MAX:
        raise ResourceLimitError(f"the granularity makes more than {BUCKETS_MAX} buckets of the data's time")
    return found


def extent_statement(relation: Relation, condition: Filter | None) -> Statement:
    """The first and last instant of the rows that meet the condition."""
    parameters = Parameters()
    source = relation.sql(lambda columns: (), condition, parameters)
    return Statement(f"SELECT min({quoted(TIME)}), max({quoted(TIME)}) FROM ({source})", parameters)


def aggregate_statement(query: AggregateQuery, relation: Relation, extent: Interval | None) -> Statement:
    """Rows of (bucket start, dimensions..., aggregates...).

    `extent` is the time of the data, needed where the granularity follows a calendar.
    """
    parameters = Parameters()
    dimensions = dimensions_of(query)

    def outputs(columns: Columns) -> list[str]:
        keys = [dimension_sql(columns(spec.dimension), spec) for spec in dimensions]
        return keys + [aggregated_sql(aggregator, columns, parameters) for aggregator in query.aggregators]

    source = relation.sql(outputs, query.filter, parameters)
    bucket = quoted(TIME)
    if query.granularity.is_all:
        bucket = "CAST(0 AS BIGINT)"
    elif is_uniform(query.granularity):
        bucket = _uniform_bucket(query.granularity, parameters)
    elif extent is not None:
        starts = parameters.add(bucket_starts(query.granularity, extent), "BIGINT[]")
        source = (
            f"SELECT * FROM ({source}) AS rows ASOF JOIN (SELECT unnest({starts}) AS bucket_start) AS buckets "
            f"ON rows.{quoted(TIME)} >= buckets.bucket_start"
        )
        bucket = "bucket_start"
    groups = [bucket, *(f"x{number}" for number in range(len(dimensions)))]
    aggregates = [
        f"{aggregator.kind.function}(x{number})" for number, aggregator in enumerate(query.aggregators, len(dimensions))
    ]
    selected = ", ".join(f"{sql} AS {_alias(index)}" for index, sql in enumerate([*groups, *aggregates]))
    # Groups are given by their place in the list of outputs, counted from one.
    by = ", ".join(str(index + 1) for index in range(len(groups)))
    text = f"SELECT {selected} FROM ({source}) GROUP BY {by}"
    if isinstance(query, TopNQuery):
        text = _ranked(query, text, parameters)
    return Statement(text, parameters)


def dimensions_of(query: AggregateQuery) -> Sequence[DimensionSpec]:
    """What a query groups by, beside time."""
    match query:
        case TopNQuery():
            return (query.dimension,)
        case GroupByQuery():
            return query.dimensions
    return ()


def dimension_sql(column: Column, spec: DimensionSpec) -> str:
    """A dimension's values in their output type."""
    match spec.output_type:
        case "LONG":
            return column.as_long
        case "DOUBLE":
            return column.as_double
        case "FLOAT":
            return f"CAST({column.as_double} AS FLOAT)"
    return column.as_text


def aggregated_sql(aggregator: Aggregator, columns: Columns, parameters: Parameters) -> str:
    """What an aggregate function is to see of a row; null where it is to see nothing."""
    if aggregator.kind is AggregatorKind.COUNT or aggregator.field is None:
        value = "1"
    else:
        column = columns(aggregator.field)
        value = column.as_double if aggregator.kind.is_double else column.as_long
    if aggregator.filter is None:
        return value
    return f"CASE WHEN {filter_sql(aggregator.filter, columns, parameters)} THEN {value} END"


def _alias(index: int) -> str:
    return f"c{index}"


def _uniform_bucket(granularity: Granularity, parameters: Parameters) -> str:
    first = granularity.bucket(0)
    length = parameters.add(first.duration_ms, "BIGINT")
    origin = parameters.add(first.start_ms, "BIGINT")
    time = quoted(TIME)
    # The remainder of SQL takes the sign of the dividend, so that instants before the origin need the second one.
    return f"{time} - ((({time} - {origin}) % {length}) + {length}) % {length}"


def _ranked(query: TopNQuery, grouped: str, parameters: Parameters) -> str:
    """The first of each bucket: by the metric, ties by the dimension's value."""
    metric, value = query.metric, _alias(1)
    direction = "DESC NULLS LAST" if metric.descending else "ASC NULLS FIRST"
    if metric.name is None:
        text = f"CAST({value} AS VARCHAR)"
        key = f"{Column(text, 'VARCHAR').as_double} {direction}, " if metric.numeric else ""
        order = f"{key}{value} {direction}"
    else:
        index = [aggregator.name for aggregator in query.aggregators].index(metric.name)
        order = f"{_alias(2 + index)} {direction}, {value} ASC NULLS FIRST"
    limit = parameters.add(max(TOP_N_MIN, query.threshold), "BIGINT")
    return (
        f"SELECT * FROM ({grouped}) AS groups "
        f"QUALIFY row_number() OVER (PARTITION BY {_alias(0)} ORDER BY {order}) <= {limit}"
    )
