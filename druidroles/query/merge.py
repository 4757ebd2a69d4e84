"""Merging the partial results of several servers into the answer.

Each server answers over its own segments, in Druid's shape; no row of data is in two of them. What a Broker does after
that is here: combine groups, order, fill empty buckets, cut. All of it goes in steps of a few milliseconds, so that a
caller with an event loop can let others in between.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any, Protocol

from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso, parse_iso
from druidroles.query.aggregators import Aggregator
from druidroles.query.errors import ResourceLimitError
from druidroles.query.finish import order_groups, order_top_n
from druidroles.query.model import (
    AggregateQuery,
    GroupByQuery,
    Query,
    ScanQuery,
    TimeBoundaryQuery,
    TimeseriesQuery,
    TopNQuery,
)
from druidroles.query.rows import json_value, output_names
from druidroles.query.sql import bucket_starts
from druidroles.query.steps import ROWS_AT_ONCE, Steps, collect, run_through, slices, sort

Result = dict[str, Any]
GROUPS_MAX = 500_000  # held while merging; Druid's maxMergingDictionarySize has the same purpose


class Merger(Protocol):
    """Merges the results of one query."""

    def add(self, results: Sequence[Result]) -> Steps[None]:
        """Take all results of one more server. Several may be taken side by side, in turns."""
        ...

    def finish(self) -> Steps[list[Result]]:
        """The answer. Call it once, at the end."""
        ...


def merger(query: Query) -> Merger:
    """The merger for a query."""
    match query:
        case TimeseriesQuery():
            return TimeseriesMerger(query)
        case TopNQuery():
            return TopNMerger(query)
        case GroupByQuery():
            return GroupByMerger(query)
        case ScanQuery():
            return ScanMerger(query)
        case TimeBoundaryQuery():
            return TimeBoundaryMerger(query)
    raise TypeError(f"no merger for {type(query).__name__}")


def merge(query: Query, partials: Iterable[Sequence[Result]]) -> list[Result]:
    """Merge at once what several servers answered."""
    merging = merger(query)
    for results in partials:
        run_through(merging.add(results))
    return run_through(merging.finish())


def _read(aggregator: Aggregator, value: Any) -> Any:
    # Doubles that are no numbers travel as text.
    return float(value) if isinstance(value, str) and aggregator.kind.is_double else value


class _Groups:
    """Groups by (bucket, dimension values) with their aggregates combined."""

    def __init__(self, query: AggregateQuery) -> None:
        self._query = query
        self._names = output_names(query)
        self._buckets: dict[str, int] = {}
        self.groups: dict[tuple[Any, ...], list[Any]] = {}

    def bucket(self, timestamp: str) -> int:
        if self._query.granularity.is_all:
            return self._query.start_ms
        found = self._buckets.get(timestamp)
        if found is None:
            found = self._buckets[timestamp] = parse_iso(timestamp)
        return found

    def add_rows(self, bucket: int, rows: Sequence[Result]) -> Steps[None]:
        for some in slices(rows):
            for row in some:
                self.add(bucket, row)
            yield

    def add(self, bucket: int, row: Result) -> None:
        key = (bucket, *(row.get(name) for name in self._names))
        aggregators = self._query.aggregators
        values = [_read(aggregator, row.get(aggregator.name)) for aggregator in aggregators]
        known = self.groups.get(key)
        if known is not None:
            values = [
                aggregator.combine(one, other)
                for aggregator, one, other in zip(aggregators, known, values, strict=True)
            ]
        elif len(self.groups) >= GROUPS_MAX:
            raise ResourceLimitError(f"the answer has more than {GROUPS_MAX} groups; narrow the query")
        self.groups[key] = values

    def row(self, key: tuple[Any, ...], values: list[Any]) -> Result:
        row = dict(zip(self._names, key[1:], strict=True))
        for aggregator, value in zip(self._query.aggregators, values, strict=True):
            row[aggregator.name] = json_value(value)
        return row


class TimeseriesMerger:
    """One row a bucket, empty ones between the first and the last filled in (Druid documentation, "Timeseries")."""

    def __init__(self, query: TimeseriesQuery) -> None:
        self._query = query
        self._groups = _Groups(query)

    def add(self, results: Sequence[Result]) -> Steps[None]:
        """Take more results."""
        for some in slices(results):
            for result in some:
                self._groups.add(self._groups.bucket(result["timestamp"]), result["result"])
            yield

    def finish(self) -> Steps[list[Result]]:
        """The answer; over no data one empty row for granularity all, otherwise none."""
        query, groups = self._query, self._groups.groups
        if query.granularity.is_all:
            starts = [query.start_ms] if query.intervals and not (query.skip_empty and not groups) else []
        elif query.skip_empty:
            starts = [bucket for (bucket,) in groups]
        else:
            starts = yield from self._filled([bucket for (bucket,) in groups])
        empty = [aggregator.empty for aggregator in query.aggregators]
        starts = yield from sort(starts, lambda start: start, reverse=query.descending)
        if query.limit:
            starts = starts[: query.limit]
        rows = (
            {"timestamp": format_iso(start), "result": self._groups.row((start,), groups.get((start,), empty))}
            for start in starts
        )
        return (yield from collect(rows))

    def _filled(self, present: list[int]) -> Steps[list[int]]:
        if not present:
            return []
        data = Interval(min(present), max(present) + 1)
        starts = dict.fromkeys(present)
        for interval in self._query.intervals:
            asked = interval.intersection(data)
            if asked is not None:
                for some in slices(bucket_starts(self._query.granularity, asked)):
                    starts.update(dict.fromkeys(some))
                    yield
        return list(starts)


class TopNMerger:
    """The first of each bucket."""

    def __init__(self, query: TopNQuery) -> None:
        self._query = query
        self._groups = _Groups(query)

    def add(self, results: Sequence[Result]) -> Steps[None]:
        """Take more results."""
        for result in results:
            yield from self._groups.add_rows(self._groups.bucket(result["timestamp"]), result["result"])

    def finish(self) -> Steps[list[Result]]:
        """The answer, bucket by bucket."""
        buckets: dict[int, list[Result]] = {}
        for number, (key, values) in enumerate(self._groups.groups.items()):
            buckets.setdefault(key[0], []).append(self._groups.row(key, values))
            if number % ROWS_AT_ONCE == 0:
                yield
        answer: list[Result] = []
        for bucket, rows in sorted(buckets.items()):
            ranked = yield from order_top_n(self._query, rows)
            answer.append({"timestamp": format_iso(bucket), "result": ranked})
            yield
        return answer


class GroupByMerger:
    """One row a group."""

    def __init__(self, query: GroupByQuery) -> None:
        self._query = query
        self._groups = _Groups(query)

    def add(self, results: Sequence[Result]) -> Steps[None]:
        """Take more results."""
        for some in slices(results):
            for result in some:
                self._groups.add(self._groups.bucket(result["timestamp"]), result["event"])
            yield

    def finish(self) -> Steps[list[Result]]:
        """The answer. Without dimensions and buckets of time there is a row even over no data, as in SQL and Druid."""
        query, groups = self._query, self._groups.groups
        if not groups and not query.dimensions and query.granularity.is_all and query.having is None:
            groups[(query.start_ms,)] = [aggregator.empty for aggregator in query.aggregators]
        rows = yield from collect((key[0], self._groups.row(key, values)) for key, values in groups.items())
        ordered = yield from order_groups(query, rows)
        return (yield from collect({"version": "v1", "timestamp": format_iso(b), "event": row} for b, row in ordered))


class ScanMerger:
    """Rows of all servers, merged by time where an order is asked for, cut at offset and limit."""

    def __init__(self, query: ScanQuery) -> None:
        self._query = query
        self._servers: list[list[Result]] = []

    def add(self, results: Sequence[Result]) -> Steps[None]:
        """Keep all results of one more server."""
        self._servers.append(list(results))
        yield

    def finish(self) -> Steps[list[Result]]:
        """The answer, in batches of one segment each."""
        query = self._query
        if query.order:
            streams = [self._events(results) for results in self._servers]
            rows = heapq.merge(*streams, key=partial(_time_of, query.order))
        else:
            rows = (row for results in self._servers for row in self._events(results))
        stop = query.offset + query.limit if query.limit else None
        chosen = yield from collect(islice(rows, query.offset, stop))
        return (yield from collect(self._batches(chosen)))

    @staticmethod
    def _events(results: list[Result]) -> Iterable[tuple[Result, Any]]:
        return ((result, event) for result in results for event in result["events"])

    def _batches(self, rows: Iterable[tuple[Result, Any]]) -> Iterator[Result]:
        for (segment, columns), run in groupby(rows, key=lambda row: (row[0]["segmentId"], row[0]["columns"])):
            while batch := list(islice(run, self._query.batch_size)):
                yield {"segmentId": segment, "columns": columns, "events": [event for _, event in batch]}


def _time_of(order: int, row: tuple[Result, Any]) -> int:
    result, event = row
    time = event[result["columns"].index("__time")] if isinstance(event, list) else event["__time"]
    return order * int(time)


class TimeBoundaryMerger:
    """The earliest and the latest of all."""

    def __init__(self, query: TimeBoundaryQuery) -> None:
        self._result: dict[str, str] = {}

    def add(self, results: Sequence[Result]) -> Steps[None]:
        """Take more results."""
        for result in results:
            yield
            for name, choose in (("minTime", min), ("maxTime", max)):
                if name in result["result"]:
                    found = result["result"][name]
                    known = self._result.get(name, found)
                    self._result[name] = choose(found, known, key=parse_iso)

    def finish(self) -> Steps[list[Result]]:
        """The answer; none over no data."""
        yield
        if not self._result:
            return []
        ordered = {name: self._result[name] for name in ("minTime", "maxTime") if name in self._result}
        return [{"timestamp": next(iter(ordered.values())), "result": ordered}]
