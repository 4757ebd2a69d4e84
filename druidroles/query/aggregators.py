"""Aggregators: what is computed over rows, and how partial results of several servers make one.

A sum, minimum or maximum over no non-null value is null; a count is 0. Sums of longs wrap at 64 bits, as in Java.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import attrs

from druidroles.query.errors import BadQueryError, UnsupportedQueryError
from druidroles.query.fields import Fields
from druidroles.query.filters import And, Filter, parse_filter


class AggregatorKind(Enum):
    """Druid's type names."""

    COUNT = "count"
    LONG_SUM = "longSum"
    LONG_MIN = "longMin"
    LONG_MAX = "longMax"
    DOUBLE_SUM = "doubleSum"
    DOUBLE_MIN = "doubleMin"
    DOUBLE_MAX = "doubleMax"

    @property
    def is_double(self) -> bool:
        """Whether its result is a double."""
        return self.value.startswith("double")

    @property
    def function(self) -> str:
        """The SQL function: count, sum, min or max."""
        return "count" if self is AggregatorKind.COUNT else self.value[-3:].lower()


@attrs.frozen
class Aggregator:
    """One column of the result. `field` is None for a count; `filter` narrows the rows it sees."""

    name: str
    kind: AggregatorKind
    field: str | None = None
    filter: Filter | None = None

    @property
    def empty(self) -> Any:
        """Its result over no rows."""
        return 0 if self.kind is AggregatorKind.COUNT else None

    def combine(self, one: Any, other: Any) -> Any:
        """The result over the rows of both."""
        if one is None or other is None:
            return other if one is None else one
        match self.kind.function:
            case "min":
                return min(one, other, key=number_key)
            case "max":
                return max(one, other, key=number_key)
            case _:
                return one + other if self.kind.is_double else wrap_long(one + other)


def number_key(value: float) -> tuple[bool, float]:
    """A key that puts what is no number above all numbers, as Java's Double.compare and DuckDB do."""
    return (True, 0) if math.isnan(value) else (False, value)


def wrap_long(value: int) -> int:
    """A sum of longs as 64 bits hold it."""
    return (value + 2**63) % 2**64 - 2**63


def parse_aggregators(fields: Fields) -> tuple[Aggregator, ...]:
    """The query's `aggregations`, whose names must differ."""
    aggregators = tuple(_parse(item, None) for item in fields.inners("aggregations"))
    names = [aggregator.name for aggregator in aggregators]
    for name in names:
        if names.count(name) > 1:
            raise BadQueryError(f"{fields.at('aggregations')}: the name {name!r} is given twice")
    return aggregators


def _parse(fields: Fields, narrowed: Filter | None) -> Aggregator:
    name = fields.need_str("type")
    if name == "filtered":
        condition = parse_filter(fields.inner("filter"))
        inner = _parse(fields.inner("aggregator"), condition if narrowed is None else And((narrowed, condition)))
        own = fields.opt_str("name")
        return attrs.evolve(inner, name=own) if own else inner
    try:
        kind = AggregatorKind(name)
    except ValueError:
        known = ", ".join([*(kind.value for kind in AggregatorKind), "filtered"])
        raise UnsupportedQueryError(
            f"{fields.at('type')}: aggregator type {name!r} is not supported; there are {known}"
        ) from None
    fields.refuse("expression")
    field = None if kind is AggregatorKind.COUNT else fields.need_str("fieldName")
    return Aggregator(fields.need_str("name"), kind, field, narrowed)
