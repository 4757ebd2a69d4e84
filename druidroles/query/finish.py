"""Ordering and cutting of merged rows, in steps: topN's ranking, groupBy's having, order and limit. Null comes before
everything going up and after everything going down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from druidroles.query.aggregators import number_key
from druidroles.query.model import GroupByQuery, TopNQuery
from druidroles.query.sql_filters import number_of
from druidroles.query.steps import Steps, collect, sort

Row = dict[str, Any]

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def sort_key(value: Any) -> tuple[bool, Any]:
    """A key for strings that puts null first. Druid's order is that of the UTF-8 bytes, which is Python's."""
    return (False, "") if value is None else (True, str(value))


def _number_key(value: Any) -> tuple[int, Any]:
    """A key for numbers, and for strings taken as numbers: null, then what is no number, then numbers."""
    if value is None:
        return 0, (False, 0)
    # Doubles that are not finite are text in a result.
    number = _NOT_FINITE.get(value, value) if isinstance(value, str) else value
    if isinstance(number, str):
        number = number_of(number)
    return (1, sort_key(value)) if number is None else (2, number_key(number))


def _key_of(output_type: str) -> Callable[[Any], Any]:
    return sort_key if output_type == "STRING" else _number_key


def order_top_n(query: TopNQuery, rows: list[Row]) -> Steps[list[Row]]:
    """The first `threshold` rows of a bucket; ties are broken by the dimension's value."""
    metric, name = query.metric, query.dimension.output_name
    rows = yield from sort(rows, _column(name, _key_of(query.dimension.output_type)))
    if metric.name is not None:
        rows = yield from sort(rows, _column(metric.name, _number_key), reverse=metric.descending)
    elif metric.numeric:
        rows = yield from sort(rows, _column(name, _number_key), reverse=metric.descending)
    elif metric.descending:
        rows.reverse()
    return rows[: query.threshold]


def order_groups(query: GroupByQuery, rows: list[tuple[int, Row]]) -> Steps[list[tuple[int, Row]]]:
    """Groups kept by `having`: by time, then by the limitSpec's columns, then by the dimensions; cut at the limit."""
    if query.having is not None:
        having = query.having
        rows = yield from collect((bucket, row) for bucket, row in rows if having.keeps(row))
    keys = [(spec.output_name, _key_of(spec.output_type)) for spec in query.dimensions]
    rows = yield from sort(rows, lambda item: [key(item[1][name]) for name, key in keys])
    dimensions = {spec.output_name for spec in query.dimensions}
    for column in reversed(query.limit.columns):
        by_text = column.name in dimensions and not column.numeric
        choose = _column(column.name, sort_key if by_text else _number_key)
        rows = yield from sort(rows, _of_row(choose), reverse=column.descending)
    rows = yield from sort(rows, lambda item: item[0])
    stop = query.limit.offset + query.limit.limit if query.limit.limit else None
    return rows[query.limit.offset : stop]


def _of_row(choose: Callable[[Row], Any]) -> Callable[[tuple[int, Row]], Any]:
    return lambda item: choose(item[1])


def _column(name: str, key: Callable[[Any], Any]) -> Callable[[Row], Any]:
    return lambda row: key(row[name])
