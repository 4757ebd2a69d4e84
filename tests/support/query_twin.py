"""A naive twin of the query engine: what a query should answer, computed row by row from the documentation.

It shares nothing with the engine but the JSON of the query. Rows are (time, values, types); the types are those of the
row's own segment, by which its values compare. Truth is three-valued: None is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen
class Row:
    """A row of a segment."""

    segment: str
    time: int
    values: dict[str, Any]

    def get(self, name: str) -> Any:
        """A column's value, None where the segment has no such column."""
        return self.time if name == "__time" else self.values.get(name)


def iso(ms: int) -> str:
    """An instant as Druid prints it."""
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def number(text: str) -> int | float | None:
    """The number that a string spells."""
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?", text) else None


def text(value: Any) -> str | None:
    """A value as a string."""
    return None if value is None else str(value)


def as_long(value: Any) -> int | None:
    """A value as a long: doubles are cut, strings must spell a whole number."""
    if isinstance(value, str):
        value = number(value)
        return int(value) if value is not None and value == int(value) else None
    return None if value is None else int(value)


def as_double(value: Any) -> float | None:
    """A value as a double."""
    if isinstance(value, str):
        value = number(value)
    return None if value is None else float(value)


def equals(value: Any, wanted: Any) -> bool | None:
    """Whether a column's value is what a selector names, by the column's type."""
    if value is None or wanted is None:
        return None
    wanted = str(wanted)
    return value == wanted if isinstance(value, str) else value == number(wanted)


def numeric_key(value: Any) -> tuple[int, Any]:
    """Druid's numeric order: strings that are no numbers first, in their own order."""
    found = number(value) if isinstance(value, str) else value
    return (0, value) if found is None else (1, found)


def matches(node: dict[str, Any] | None, row: Row) -> bool | None:
    """Whether a filter keeps the row; None for unknown, which does not."""
    if node is None:
        return True
    match node["type"]:
        case "and" | "or":
            found = [matches(part, row) for part in node["fields"]]
            decisive = node["type"] == "or"
            return decisive if decisive in found else (None if None in found else not decisive)
        case "not":
            inner = matches(node["field"], row)
            return None if inner is None else not inner
        case "null":
            return row.get(node["column"]) is None
        case "selector":
            value = row.get(node["dimension"])
            return value is None if node["value"] is None else equals(value, node["value"])
        case "in":
            value = row.get(node["dimension"])
            if value is None:
                return True if None in node["values"] else None
            return any(equals(value, wanted) for wanted in node["values"])
    return _bound(node, row.get(node["dimension"]))


def _bound(node: dict[str, Any], value: Any) -> bool | None:
    if value is None:
        return None
    numeric = node.get("ordering") == "numeric"
    key: Callable[[Any], Any] = numeric_key if numeric else str
    inside = True
    if node.get("lower") is not None:
        low = key(node["lower"])
        inside = key(value) > low if node.get("lowerStrict") else key(value) >= low
    if node.get("upper") is not None:
        high = key(node["upper"])
        inside = inside and (key(value) < high if node.get("upperStrict") else key(value) <= high)
    return inside


def bucket_start(granularity: Any, ms: int) -> int:
    """Where the bucket that holds an instant begins."""
    lengths = {"minute": MINUTE, "hour": HOUR, "six_hour": 6 * HOUR, "day": DAY}
    if isinstance(granularity, str) and granularity in lengths:
        return ms - ms % lengths[granularity]
    if granularity == "week":
        return ms - (ms - 4 * DAY) % (7 * DAY)
    if isinstance(granularity, dict) and granularity["type"] == "duration":
        return ms - (ms - granularity.get("origin", 0)) % granularity["duration"]
    zone, period = ("UTC", "P1M") if granularity == "month" else (granularity["timeZone"], granularity["period"])
    local = (_EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(zone))
    if period == "PT1H":
        local = local.replace(minute=0)
    else:
        local = local.replace(hour=0, minute=0, day=1 if period == "P1M" else local.day, fold=0)
    return int(local.replace(second=0, microsecond=0).timestamp()) * 1000


def aggregate(spec: dict[str, Any], rows: Iterable[Row]) -> Any:
    """An aggregator over rows."""
    if spec["type"] == "filtered":
        return aggregate(spec["aggregator"], [row for row in rows if matches(spec["filter"], row)])
    if spec["type"] == "count":
        return len(list(rows))
    convert = as_double if spec["type"].startswith("double") else as_long
    values = [value for row in rows if (value := convert(row.get(spec["fieldName"]))) is not None]
    if not values:
        return None
    return {"Sum": sum, "Min": min, "Max": max}[spec["type"][-3:]](values)


def name_of(spec: dict[str, Any]) -> str:
    """The name of an aggregator's result."""
    return str(spec.get("name") or spec["aggregator"]["name"])


def output(spec: Any, row: Row) -> Any:
    """A dimension's value for a row, in its output type."""
    if isinstance(spec, str):
        return text(row.get(spec))
    convert = {"LONG": as_long, "DOUBLE": as_double}.get(spec.get("outputType", "STRING"), text)
    return convert(row.get(spec["dimension"]))


def output_name(spec: Any) -> str:
    """The name of a dimension's values in the result."""
    return str(spec) if isinstance(spec, str) else str(spec["outputName"])


def order(value: Any, numeric: bool) -> tuple[int, Any]:
    """A key that puts null first."""
    if value is None:
        return (-1, ())
    return numeric_key(value) if numeric or not isinstance(value, str) else (1, value)


@attrs.frozen
class Twin:
    """Answers queries over rows. `intervals` are pairs of milliseconds, sorted and apart."""

    rows: list[Row]
    intervals: list[tuple[int, int]]

    def asked(self) -> list[Row]:
        """The rows in the query's time, filtered or not."""
        return [row for row in self.rows if any(start <= row.time < end for start, end in self.intervals)]

    def kept(self, query: dict[str, Any]) -> list[Row]:
        """The rows that the query counts."""
        return [row for row in self.asked() if matches(query.get("filter"), row)]

    def answer(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """The answer of a timeseries, topN, groupBy or timeBoundary query."""
        match query["queryType"]:
            case "timeseries":
                return self._timeseries(query)
            case "topN":
                return self._top_n(query)
            case "groupBy":
                return self._group_by(query)
        kept = [row.time for row in self.kept(query)]
        if not kept:
            return []
        return [{"timestamp": iso(min(kept)), "result": {"minTime": iso(min(kept)), "maxTime": iso(max(kept))}}]

    def _start(self, query: dict[str, Any], ms: int) -> int:
        granularity = query["granularity"]
        return self.intervals[0][0] if granularity == "all" else bucket_start(granularity, ms)

    def _groups(self, query: dict[str, Any], dimensions: list[Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
        """(bucket, dimension values...) -> the row of the result."""
        gathered: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.kept(query):
            values = tuple(output(spec, row) for spec in dimensions)
            gathered.setdefault((self._start(query, row.time), *values), []).append(row)
        return {
            key: {
                **{output_name(spec): value for spec, value in zip(dimensions, key[1:], strict=True)},
                **self._aggregates(query, rows),
            }
            for key, rows in gathered.items()
        }

    def _aggregates(self, query: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
        return {name_of(spec): aggregate(spec, rows) for spec in query["aggregations"]}

    def _timeseries(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = {key[0]: row for key, row in self._groups(query, []).items()}
        skip = query.get("context", {}).get("skipEmptyBuckets", False)
        if query["granularity"] == "all":
            starts = {self.intervals[0][0]} if found or not skip else set()
        elif skip:
            starts = set(found)
        else:
            starts = self._filled(query)
        ordered = sorted(starts, reverse=query.get("descending", False))[: query.get("limit") or None]
        empty = self._aggregates(query, [])
        return [{"timestamp": iso(start), "result": found.get(start, empty)} for start in ordered]

    def _filled(self, query: dict[str, Any]) -> set[int]:
        """All buckets that the query's time touches between the first row and the last, filtered or not."""
        times = [row.time for row in self.asked()]
        if not times:
            return set()
        first = self._start(query, min(times))
        return {
            self._start(query, ms)
            for ms in range(first, max(times) + 1, MINUTE)
            if any(start <= ms < end for start, end in self.intervals)
        }

    def _top_n(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        buckets: dict[int, list[dict[str, Any]]] = {}
        for key, row in self._groups(query, [query["dimension"]]).items():
            buckets.setdefault(key[0], []).append(row)
        name, metric, turned = output_name(query["dimension"]), query["metric"], False
        if isinstance(metric, dict) and metric["type"] == "inverted":
            metric, turned = metric["metric"], True
        by_name = isinstance(metric, dict) and metric["type"] == "dimension"
        for rows in buckets.values():
            rows.sort(key=lambda row: order(row[name], False))
            if by_name:
                numeric = metric.get("ordering") == "numeric"
                rows.sort(key=lambda row: order(row[name], numeric), reverse=turned)
                if turned and not numeric:
                    rows.sort(key=lambda row: order(row[name], False), reverse=True)
            else:
                rows.sort(key=lambda row: order(row[metric], True), reverse=not turned)
        return [
            {"timestamp": iso(start), "result": rows[: query["threshold"]]} for start, rows in sorted(buckets.items())
        ]

    def _group_by(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        dimensions = query["dimensions"]
        groups = self._groups(query, dimensions)
        if not groups and not dimensions and query["granularity"] == "all":
            groups = {(self.intervals[0][0],): self._aggregates(query, [])}
        rows = sorted(groups.items(), key=lambda item: [order(value, False) for value in item[0][1:]])
        limit = query.get("limitSpec", {})
        names = {output_name(spec) for spec in dimensions}
        for column in reversed(limit.get("columns", [])):
            name = column["dimension"]
            numeric = name not in names or column.get("dimensionOrder") == "numeric"

            def key(item: Any, name: str = name, numeric: bool = numeric) -> Any:
                value = item[1][name]
                return order(value if numeric else text(value), numeric)

            rows.sort(key=key, reverse=column.get("direction") == "descending")
        rows.sort(key=lambda item: item[0][0])
        first, most = limit.get("offset", 0), limit.get("limit") or len(rows)
        return [
            {"version": "v1", "timestamp": iso(key[0]), "event": event} for key, event in rows[first : first + most]
        ]
