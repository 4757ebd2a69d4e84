"""Ordering and cutting of merged rows: topN's ranking, groupBy's having, order and limit. Null comes before everything
going up and after everything going down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from druidroles.query.model import GroupByQuery, TopNQuery

Row = dict[str, Any]


def as_number(value: Any) -> float | None:
    """A dimension's value as a number, None where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def sort_key(value: Any) -> tuple[bool, Any]:
    """A key that puts null first. Values of one column have one type; booleans do not occur."""
    return (False, 0) if value is None else (True, value)


def _aggregate_key(value: Any) -> tuple[bool, Any]:
    # Doubles that are no numbers are text in a result.
    return sort_key(float(value) if isinstance(value, str) else value)


def _text_key(value: Any) -> tuple[bool, Any]:
    # Druid orders strings by their UTF-8 bytes, which is the order of code points, which is Python's.
    return sort_key(None if value is None else str(value))


def order_top_n(query: TopNQuery, rows: list[Row]) -> list[Row]:
    """The first `threshold` rows of a bucket; ties are broken by the dimension's value."""
    metric, name = query.metric, query.dimension.output_name
    rows.sort(key=lambda row: sort_key(row[name]))
    if metric.name is not None:
        rows.sort(key=_column(metric.name, _aggregate_key), reverse=metric.descending)
    elif metric.numeric:
        rows.sort(key=_column(name, lambda value: sort_key(as_number(value))), reverse=metric.descending)
    elif metric.descending:
        rows.reverse()
    return rows[: query.threshold]


def order_groups(query: GroupByQuery, rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Groups kept by `having`: by time, then by the limitSpec's columns, then by the dimensions; cut at the limit."""
    if query.having is not None:
        having = query.having
        rows = [(bucket, row) for bucket, row in rows if having.keeps(row)]
    rows.sort(key=lambda item: [sort_key(item[1][spec.output_name]) for spec in query.dimensions])
    dimensions = {spec.output_name for spec in query.dimensions}
    for column in reversed(query.limit.columns):
        key: Callable[[Any], Any] = _aggregate_key
        if column.name in dimensions:
            key = (lambda value: sort_key(as_number(value))) if column.numeric else _text_key
        choose = _column(column.name, key)
        rows.sort(key=lambda item, choose=choose: choose(item[1]), reverse=column.descending)  # type: ignore[misc]
    rows.sort(key=lambda item: item[0])
    stop = query.limit.offset + query.limit.limit if query.limit.limit else None
    return rows[query.limit.offset : stop]


def _column(name: str, key: Callable[[Any], Any]) -> Callable[[Row], Any]:
    return lambda row: key(row[name])
