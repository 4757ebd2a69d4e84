"""Random queries over a small data set, against a naive twin.

The data has nulls, segments of one data source with other columns and other types, partitions, and days on which a
clock is set forward. Each query is answered by one server that has all segments and by several that share them, each
asked over the JSON that a Broker sends; after the merge both must say what the twin says.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from query_twin import DAY, HOUR, MINUTE, Row, Twin, iso, matches
from segment_files import VERSION

from druidroles.model.interval import Interval
from druidroles.model.iso import parse_iso
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.query.engine import Engine
from druidroles.query.merge import merge
from druidroles.query.model import Query, parse_query
from druidroles.query.relation import Piece
from druidroles.query.source import ServedSegment
from druidroles.segments.format import write_options

START = parse_iso("2013-03-08")  # New York sets its clocks forward on the tenth
END = START + 6 * DAY
STRINGS = [None, "", "a", "b", "B", "é", "9", "10", "2.0", "NA"]
LONGS = [None, -3, 0, 1, 2, 9, 10, 2**40 + 1]
DOUBLES = [None, -1.5, 0.0, 0.5, 1.0, 2.0, 10.0]
POOLS = {"VARCHAR": STRINGS, "BIGINT": LONGS, "DOUBLE": DOUBLES}
SCHEMAS = (
    {"s": "VARCHAR", "l": "BIGINT", "d": "DOUBLE", "m": "VARCHAR"},
    {"l": "BIGINT", "m": "BIGINT", "s": "VARCHAR"},
    {"d": "DOUBLE", "m": "DOUBLE", "s": "VARCHAR", "l": "BIGINT"},
)
# (day, partitions); no data on the fourth day.
DAYS = ((0, 1), (1, 3), (2, 2), (4, 1), (5, 1))


class Data:
    """The data set: the rows, and the segment files that hold them."""

    def __init__(self, directory: Path) -> None:
        self.rows: list[Row] = []
        self.served: list[ServedSegment] = []
        chance = random.Random(42)
        for day, partitions in DAYS:
            for partition in range(partitions):
                schema = SCHEMAS[(day + partition) % len(SCHEMAS)]
                self._add(directory, day, numbered(partition, partitions), schema, chance)

    def _add(self, directory: Path, day: int, shard: Any, schema: dict[str, str], chance: random.Random) -> None:
        start = START + day * DAY
        interval = Interval(start, start + DAY)
        segment = DataSegment("wiki", interval, VERSION, shard_spec=shard)
        rows = [
            Row(
                segment.id,
                start + chance.randrange(DAY // MINUTE) * MINUTE,
                {name: chance.choice(POOLS[kind]) for name, kind in schema.items()},
            )
            for _ in range(25)
        ]
        columns = ", ".join(['"__time" BIGINT', *(f'"{name}" {kind}' for name, kind in schema.items())])
        path = directory / f"{day}_{shard.partition_num}.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE segment ({columns})")
            marks = ", ".join("?" * (len(schema) + 1))
            connection.executemany(
                f"INSERT INTO segment VALUES ({marks})", [[row.time, *row.values.values()] for row in rows]
            )
            connection.execute(f"COPY (SELECT * FROM segment ORDER BY __time) TO '{path}' ({write_options()})")
        self.rows += rows
        self.served.append(ServedSegment(segment, path))

    def pieces(self, query: Query) -> list[Piece]:
        """What a Broker would have read for the query."""
        return [
            Piece(descriptor_of(served, part), served)
            for interval in query.intervals
            for served in self.served
            if (part := interval.intersection(served.segment.interval)) is not None
        ]


def descriptor_of(served: ServedSegment, part: Interval) -> Any:
    """The descriptor of a part of a segment."""
    whole = served.segment.descriptor
    return type(whole)(part, whole.version, whole.partition)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The data set, made once."""
    return Data(tmp_path_factory.mktemp("twin"))


def answer(engine: Engine, query: Query, servers: list[list[Piece]]) -> Any:
    """The merged answer of some servers, each asked over JSON."""
    partials = []
    for pieces in servers:
        asked = json.loads(json.dumps(query.for_segments([piece.descriptor for piece in pieces], 1000)))
        partials.append(json.loads(json.dumps(engine.start(parse_query(asked), pieces).run(), allow_nan=False)))
    return json.loads(json.dumps(merge(query, partials)))


def both(engine: Engine, data: Data, asked: dict[str, Any], deal: random.Random) -> tuple[Any, Any]:
    """The answers of one server that has all, and of several that share it."""
    query = parse_query(asked)
    pieces = data.pieces(query)
    servers: list[list[Piece]] = [[], [], []]
    for piece in pieces:
        deal.choice(servers).append(piece)
    return answer(engine, query, [pieces]), answer(engine, query, servers)


def twin(data: Data, asked: dict[str, Any]) -> Twin:
    """The twin for a query's intervals."""
    return Twin(data.rows, [(item.start_ms, item.end_ms) for item in parse_query(asked).intervals])


COLUMNS = st.sampled_from(["s", "l", "d", "m", "S", "none"])  # the last two are in no segment
VALUES = st.sampled_from([*STRINGS, *LONGS, *DOUBLES, "1", "1.0", "-3", str(2**40 + 1), "1e1"])
TEXTS = st.sampled_from(["", "a", "B", "1", "10", "2.0", "-1.5", "x", "é"])


def _bound(column: str, lower: str | None, upper: str | None, strict: tuple[bool, bool], numeric: bool) -> Any:
    bound = {"type": "bound", "dimension": column, "lower": lower, "upper": upper}
    bound |= {"lowerStrict": strict[0], "upperStrict": strict[1]}
    return bound | ({"ordering": "numeric"} if numeric else {})


LEAVES = st.one_of(
    st.builds(lambda column, value: {"type": "selector", "dimension": column, "value": value}, COLUMNS, VALUES),
    st.builds(lambda column: {"type": "null", "column": column}, COLUMNS),
    st.builds(
        lambda column, values: {"type": "in", "dimension": column, "values": values},
        COLUMNS,
        st.lists(VALUES, max_size=4),
    ),
    st.builds(_bound, COLUMNS, st.none() | TEXTS, TEXTS, st.tuples(st.booleans(), st.booleans()), st.booleans()),
    st.builds(_bound, COLUMNS, TEXTS, st.none(), st.tuples(st.booleans(), st.booleans()), st.booleans()),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda field: {"type": "not", "field": field}, inner),
        st.builds(
            lambda kind, fields: {"type": kind, "fields": fields},
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=4,
)
KINDS = ("longSum", "longMin", "longMax", "doubleSum", "doubleMin", "doubleMax")
PLAIN = st.just({"type": "count"}) | st.builds(
    lambda kind, column: {"type": kind, "fieldName": column}, st.sampled_from(KINDS), COLUMNS
)
AGGREGATOR = PLAIN | st.builds(
    lambda node, inner: {"type": "filtered", "filter": node, "aggregator": inner}, FILTERS, PLAIN
)


def _named(aggregators: list[dict[str, Any]]) -> list[dict[str, Any]]:
    named = []
    for number, spec in enumerate(aggregators):
        inner = {"aggregator": {**spec["aggregator"], "name": f"a{number}"}} if "aggregator" in spec else {}
        named.append({**spec, **inner, **({} if inner else {"name": f"a{number}"})})
    return named


AGGREGATORS = st.lists(AGGREGATOR, min_size=1, max_size=3).map(_named)
GRANULARITIES = st.sampled_from(
    [
        "all",
        "hour",
        "six_hour",
        "day",
        "week",
        "month",
        {"type": "duration", "duration": 90 * MINUTE, "origin": 10 * MINUTE},
        {"type": "period", "period": "P1D", "timeZone": "America/New_York"},
        {"type": "period", "period": "PT1H", "timeZone": "America/New_York"},
        {"type": "period", "period": "P1D", "timeZone": "Asia/Kolkata"},
        {"type": "period", "period": "P1M", "timeZone": "Asia/Kolkata"},
    ]
)
HOURS = st.integers(-5, 6 * 24 + 5)
INTERVALS = st.lists(st.tuples(HOURS, st.integers(1, 100)), min_size=1, max_size=2).map(
    lambda spans: [f"{iso(START + at * HOUR)}/{iso(START + (at + length) * HOUR)}" for at, length in spans]
)
ALL_OF_IT = st.just([f"{iso(START)}/{iso(END)}"])


def _dimension(column: str, kind: str) -> Any:
    return (
        column
        if kind == "STRING"
        else {"type": "default", "dimension": column, "outputName": f"{column}_", "outputType": kind}
    )


DIMENSIONS = st.builds(_dimension, COLUMNS, st.sampled_from(["STRING", "STRING", "LONG", "DOUBLE"]))


@st.composite
def aggregate_queries(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A query of one type with everything that this type may have."""
    query: dict[str, Any] = {
        "queryType": kind,
        "dataSource": "wiki",
        "intervals": draw(ALL_OF_IT | INTERVALS),
        "granularity": draw(GRANULARITIES),
        "aggregations": draw(AGGREGATORS),
    }
    if draw(st.booleans()):
        query["filter"] = draw(FILTERS)
    names = [f"a{number}" for number in range(len(query["aggregations"]))]
    match kind:
        case "timeseries":
            query["descending"] = draw(st.booleans())
            query["limit"] = draw(st.sampled_from([0, 0, 1, 5]))
            query["context"] = {"skipEmptyBuckets": draw(st.booleans())}
        case "topN":
            query["dimension"] = draw(DIMENSIONS)
            query["threshold"] = draw(st.integers(1, 8))
            by = st.sampled_from(names) | st.sampled_from(
                [{"type": "dimension"}, {"type": "dimension", "ordering": "numeric"}]
            )
            query["metric"] = draw(by | by.map(lambda inner: {"type": "inverted", "metric": inner}))
        case "groupBy":
            query["dimensions"] = draw(st.lists(DIMENSIONS, max_size=2, unique_by=str))
            names += [spec if isinstance(spec, str) else spec["outputName"] for spec in query["dimensions"]]
            if len(names) > len(set(names)):
                query["dimensions"], names = query["dimensions"][:1], names[:-1]
            column = st.builds(
                lambda name, direction, by: {"dimension": name, "direction": direction, "dimensionOrder": by},
                st.sampled_from(names),
                st.sampled_from(["ascending", "descending"]),
                st.sampled_from(["lexicographic", "numeric"]),
            )
            query["limitSpec"] = {
                "type": "default",
                "limit": draw(st.sampled_from([0, 0, 3])),
                "offset": draw(st.sampled_from([0, 0, 2])),
                "columns": draw(st.lists(column, max_size=2)),
            }
    return query


EXAMPLES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DEALS = st.integers(0, 2**32).map(random.Random)


@EXAMPLES
@given(asked=aggregate_queries("timeseries"), deal=DEALS)
def test_timeseries(engine: Engine, data: Data, asked: dict[str, Any], deal: random.Random) -> None:
    """Buckets, empty ones between others, aggregates."""
    expected = twin(data, asked).answer(asked)
    whole, shared = both(engine, data, asked, deal)
    assert whole == expected
    assert shared == expected


@EXAMPLES
@given(asked=aggregate_queries("topN"), deal=DEALS)
def test_top_n(engine: Engine, data: Data, asked: dict[str, Any], deal: random.Random) -> None:
    """The first of each bucket, ties by the value, null among the values."""
    expected = twin(data, asked).answer(asked)
    whole, shared = both(engine, data, asked, deal)
    assert whole == expected
    assert shared == expected


@EXAMPLES
@given(asked=aggregate_queries("groupBy"), deal=DEALS)
def test_group_by(engine: Engine, data: Data, asked: dict[str, Any], deal: random.Random) -> None:
    """All combinations, ordered and cut."""
    expected = twin(data, asked).answer(asked)
    whole, shared = both(engine, data, asked, deal)
    assert whole == expected
    assert shared == expected


@EXAMPLES
@given(
    filter_=FILTERS, intervals=ALL_OF_IT | INTERVALS, bound=st.sampled_from([None, "minTime", "maxTime"]), deal=DEALS
)
def test_time_boundary(
    engine: Engine, data: Data, filter_: Any, intervals: list[str], bound: str | None, deal: random.Random
) -> None:
    """The first and the last instant, or one of them."""
    asked = {"queryType": "timeBoundary", "dataSource": "wiki", "intervals": intervals, "filter": filter_}
    expected = twin(data, asked).answer(asked)
    if bound is not None:
        asked["bound"] = bound
        for row in expected:
            row["result"] = {bound: row["result"][bound]}
            row["timestamp"] = row["result"][bound]
    assert both(engine, data, asked, deal) == (expected, expected)


@EXAMPLES
@given(
    filter_=st.none() | FILTERS,
    intervals=ALL_OF_IT | INTERVALS,
    columns=st.sampled_from([[], ["__time", "s", "m", "none"], ["d", "__time"]]),
    compacted=st.booleans(),
    order=st.sampled_from(["none", "ascending", "descending"]),
    cut=st.sampled_from([(0, 0), (7, 0), (7, 3), (1000, 150), (1, 1000)]),
    batch_size=st.sampled_from([1, 10, 20480]),
    deal=DEALS,
)
def test_scan(
    engine: Engine,
    data: Data,
    filter_: Any,
    intervals: list[str],
    columns: list[str],
    compacted: bool,
    order: str,
    cut: tuple[int, int],
    batch_size: int,
    deal: random.Random,
) -> None:
    """Rows as they are: no more and no fewer than asked for, in the order asked for, each with its own segment."""
    limit, offset = cut
    asked = {
        "queryType": "scan",
        "dataSource": "wiki",
        "intervals": intervals,
        "filter": filter_,
        "columns": columns,
        "resultFormat": "compactedList" if compacted else "list",
        "order": order,
        "limit": limit,
        "offset": offset,
        "batchSize": batch_size,
    }
    kept = twin(data, asked).kept(asked)
    pool: dict[str, list[str]] = {}
    for row in kept:
        names = columns or ["__time", *row.values]
        pool.setdefault(row.segment, []).append(json.dumps({name: row.get(name) for name in names}))
    times = sorted((row.time for row in kept), reverse=order == "descending")
    times = times[offset : offset + limit if limit else None]
    for batches in both(engine, data, asked, deal):
        found = []
        for batch in batches:
            assert 1 <= len(batch["events"]) <= batch_size
            events = batch["events"]
            if compacted:
                events = [dict(zip(batch["columns"], event, strict=True)) for event in events]
            assert all(list(event) == batch["columns"] for event in events)
            found += [(batch["segmentId"], event) for event in events]
        assert len(found) == len(times)
        if order != "none":
            assert [event["__time"] for _, event in found] == times
        left = {segment: list(rows) for segment, rows in pool.items()}
        for segment, event in found:
            left[segment].remove(json.dumps(event))


def test_the_twin_knows_unknown(data: Data) -> None:
    """The twin itself: what compares with null is neither so nor not so."""
    row = Row("x", 0, {"s": None, "l": 1})
    a = {"type": "selector", "dimension": "s", "value": "a"}
    b = {"type": "selector", "dimension": "l", "value": "1.0"}
    assert matches(a, row) is None
    assert matches({"type": "not", "field": a}, row) is None
    assert matches({"type": "or", "fields": [a, b]}, row) is True
    assert matches({"type": "and", "fields": [a, b]}, row) is None
