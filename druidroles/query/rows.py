"""Rows of SQL as results in Druid's shapes: what a data server answers, and a Broker merges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from druidroles.model.iso import format_iso
from druidroles.query.aggregators import Aggregator, AggregatorKind, wrap_long
from druidroles.query.model import AggregateQuery, GroupByQuery, TopNQuery

SqlRow = Sequence[Any]


def json_value(value: Any) -> Any:
    """A value as JSON can hold it: doubles that are no numbers go as text, as Jackson writes them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def aggregate_value(aggregator: Aggregator, value: Any) -> Any:
    """An aggregate as JSON: sums of longs wrap at 64 bits."""
    if aggregator.kind is AggregatorKind.LONG_SUM and value is not None:
        return wrap_long(int(value))
    return json_value(value)


def timestamp(query: AggregateQuery, bucket_ms: int) -> str:
    """The timestamp of a bucket; that of the one bucket of `all` is where the query's time begins."""
    return format_iso(query.start_ms if query.granularity.is_all else bucket_ms)


def aggregate_results(query: AggregateQuery, rows: Iterable[SqlRow]) -> list[dict[str, Any]]:
    """Rows of (bucket, dimensions..., aggregates...) as Druid's results."""
    if isinstance(query, GroupByQuery):
        return [{"version": "v1", "timestamp": timestamp(query, row[0]), "event": _named(query, row)} for row in rows]
    if isinstance(query, TopNQuery):
        buckets: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            buckets.setdefault(row[0], []).append(_named(query, row))
        return [{"timestamp": timestamp(query, bucket), "result": result} for bucket, result in sorted(buckets.items())]
    return [
        {"timestamp": timestamp(query, row[0]), "result": _named(query, row)}
        for row in sorted(rows, key=lambda row: int(row[0]))
    ]


def _named(query: AggregateQuery, row: SqlRow) -> dict[str, Any]:
    dimensions = output_names(query)
    named = {name: json_value(value) for name, value in zip(dimensions, row[1:], strict=False)}
    for aggregator, value in zip(query.aggregators, row[1 + len(dimensions) :], strict=True):
        named[aggregator.name] = aggregate_value(aggregator, value)
    return named


def output_names(query: AggregateQuery) -> list[str]:
    """The names of the dimensions in the result."""
    match query:
        case TopNQuery():
            return [query.dimension.output_name]
        case GroupByQuery():
            return [spec.output_name for spec in query.dimensions]
    return []
