"""What comes first and what is left out: topN's metric, groupBy's limitSpec and having."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from druidroles.query.errors import BadQueryError, UnsupportedQueryError
from druidroles.query.fields import Fields

# What Druid's Router writes where a query gave just a name: its class for that form, under its own name.
_LEGACY_METRIC = "LegacyTopNMetricSpec"


@attrs.frozen
class TopNMetric:
    """What topN ranks by: an aggregator's name, or None for the dimension's values themselves.

    `descending`: the greatest first, which is the rule for metrics. `numeric`: values of the dimension compare as
    numbers.
    """

    name: str | None
    descending: bool
    numeric: bool = False


def parse_metric(fields: Fields, names: set[str]) -> TopNMetric:
    """Read `metric`: a name, or a spec of type numeric, dimension or inverted."""
    value = fields.values.get("metric")
    if isinstance(value, str):
        return _by_name(value, names, fields.at("metric"))
    return _metric_spec(fields.inner("metric"), names)


def _metric_spec(spec: Fields, names: set[str]) -> TopNMetric:
    kind = spec.opt_str("type") or _LEGACY_METRIC
    if kind in ("numeric", _LEGACY_METRIC):
        return _by_name(spec.need_str("metric"), names, spec.at("metric"))
    if kind == "inverted":
        inner = spec.values.get("metric")
        metric = parse_metric(spec, names) if isinstance(inner, str) else _metric_spec(spec.inner("metric"), names)
        return attrs.evolve(metric, descending=not metric.descending)
    if kind in ("dimension", "lexicographic"):
        spec.refuse("previousStop")
        return TopNMetric(None, False, kind == "dimension" and _is_numeric(spec, "ordering"))
    raise UnsupportedQueryError(
        f"{spec.at('type')}: metric type {kind!r} is not supported; there are numeric, dimension, lexicographic, "
        "inverted"
    )


def _by_name(name: str, names: set[str], path: str) -> TopNMetric:
    if name not in names:
        raise BadQueryError(f"{path}: no aggregation is named {name!r}")
    return TopNMetric(name, True)


def _is_numeric(spec: Fields, key: str) -> bool:
    name = spec.comparator(key) or "lexicographic"
    if name not in ("lexicographic", "numeric"):
        raise UnsupportedQueryError(
            f"{spec.at(key)}: ordering {name!r} is not supported; there are lexicographic, numeric"
        )
    return name == "numeric"


@attrs.frozen
class OrderBy:
    """One column of a limitSpec."""

    name: str
    descending: bool
    numeric: bool


@attrs.frozen
class LimitSpec:
    """How groupBy orders and cuts its rows (DefaultLimitSpec). `limit` 0 is none."""

    columns: tuple[OrderBy, ...] = ()
    limit: int = 0
    offset: int = 0


def parse_limit_spec(fields: Fields, names: set[str]) -> LimitSpec:
    """Read `limitSpec`, by default neither order nor limit."""
    if fields.values.get("limitSpec") is None:
        return LimitSpec()
    spec = fields.inner("limitSpec")
    kind = spec.opt_str("type") or "default"
    if kind not in ("default", "NoopLimitSpec"):
        raise UnsupportedQueryError(f"limitSpec.type {kind!r} is not supported; there is default")
    columns = tuple(
        _order_by(item, f"limitSpec.columns[{index}]", names) for index, item in enumerate(spec.items("columns"))
    )
    return LimitSpec(columns, spec.integer("limit", 0), spec.integer("offset", 0))


def _order_by(value: Any, path: str, names: set[str]) -> OrderBy:
    fields = Fields.of({"dimension": value} if isinstance(value, str) else value, path)
    name = fields.need_str("dimension")
    if name not in names:
        raise BadQueryError(f"{path}: the result has no column {name!r}")
    direction = (fields.opt_str("direction") or "ascending").lower()
    if not ("ascending".startswith(direction) or "descending".startswith(direction)):
        raise BadQueryError(f"{fields.at('direction')} {direction!r} is neither ascending nor descending")
    return OrderBy(name, "descending".startswith(direction), _is_numeric(fields, "dimensionOrder"))


@attrs.frozen
class Having:
    """Which groups stay. `kind` is Druid's type name; `parts` are those of and, or, not."""

    kind: str
    name: str = ""
    value: Any = None
    parts: tuple[Having, ...] = ()

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether a group with these values stays. What compares with null does not."""
        match self.kind:
            case "always" | "never":
                return self.kind == "always"
            case "and":
                return all(part.keeps(row) for part in self.parts)
            case "or":
                return any(part.keeps(row) for part in self.parts)
            case "not":
                return not self.parts[0].keeps(row)
            case "dimSelector":
                found = row[self.name]
                return bool((None if found is None else str(found)) == self.value)
        found = row[self.name]
        if isinstance(found, bool) or not isinstance(found, int | float):
            return False
        match self.kind:
            case "greaterThan":
                return bool(found > self.value)
            case "lessThan":
                return bool(found < self.value)
        return bool(found == self.value)


def parse_having(fields: Fields, names: set[str]) -> Having:
    """Read `having`. BadQueryError where it names a column that the result has not."""
    kind = fields.need_str("type")
    match kind:
        case "always" | "never":
            return Having(kind)
        case "and" | "or":
            return Having(kind, parts=tuple(parse_having(part, names) for part in fields.inners("havingSpecs")))
        case "not":
            return Having(kind, parts=(parse_having(fields.inner("havingSpec"), names),))
        case "dimSelector":
            fields.refuse_extraction()
            return Having(kind, _known(fields, "dimension", names), fields.text("value"))
        case "greaterThan" | "lessThan" | "equalTo":
            return Having(kind, _known(fields, "aggregation", names), fields.need_number("value"))
    raise UnsupportedQueryError(f"{fields.at('type')}: having type {kind!r} is not supported")


def _known(fields: Fields, key: str, names: set[str]) -> str:
    name = fields.need_str(key)
    if name not in names:
        raise BadQueryError(f"{fields.at(key)}: the result has no column {name!r}")
    return name


def parse_scan_order(fields: Fields, time: str) -> str:
    """A scan's `order`, or its `orderBy` where that is by the column `time` alone: none, ascending or descending."""
    order = (fields.opt_str("order") or "none").lower()
    by = fields.inners("orderBy")
    if by:
        if len(by) > 1 or by[0].need_str("columnName") != time:
            raise UnsupportedQueryError(f"orderBy is supported for {time} alone")
        told = by[0].need_str("order").lower()
        if order not in ("none", told):
            raise BadQueryError("order and orderBy contradict each other")
        order = told
    if order not in ("none", "ascending", "descending"):
        raise BadQueryError(f"order {order!r} is none of none, ascending, descending")
    return order
