"""The known figures of a month of flights, whole and put together from servers that share the days."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from druidroles.query.engine import Engine
from druidroles.query.merge import merge
from druidroles.query.model import parse_query
from druidroles.query.relation import Piece

COUNT = {"type": "count", "name": "n"}
NULLS = {
    "type": "filtered",
    "filter": {"type": "null", "column": "dep_delay"},
    "aggregator": {"type": "count", "name": "nulls"},
}


def long_sum(name: str) -> dict[str, Any]:
    """The sum of a column under its own name."""
    return {"type": "longSum", "name": name, "fieldName": name}


def ask(engine: Engine, flights: list[Piece], **query: Any) -> Any:
    """The answer, which does not depend on which server has which days."""
    query = {"dataSource": "flights", "intervals": ["2013-01-01/2013-02-02"], "granularity": "all", **query}
    parsed = parse_query(query)
    whole = merge(parsed, [engine.start(parsed, flights).run()])
    for seed in range(3):
        deal = random.Random(seed)
        servers: list[list[Piece]] = [[] for _ in range(1 + seed * 2)]
        for piece in flights:
            deal.choice(servers).append(piece)
        deal.shuffle(servers)
        assert merge(parsed, [engine.start(parsed, pieces).run() for pieces in servers]) == whole
    return json.loads(json.dumps(whole))


def test_timeseries_over_all(engine: Engine, flights: list[Piece]) -> None:
    """Count, sums, and how many delays are not known."""
    aggregations = [COUNT, long_sum("distance"), long_sum("dep_delay"), NULLS]
    assert ask(engine, flights, queryType="timeseries", aggregations=aggregations) == [
        {
            "timestamp": "2013-01-01T00:00:00.000Z",
            "result": {"n": 27004, "distance": 27188805, "dep_delay": 265801, "nulls": 521},
        }
    ]


def test_timeseries_by_day(engine: Engine, flights: list[Piece]) -> None:
    """32 days of UTC hold what 31 days of New York do; the first of these begins at five."""
    days = ask(engine, flights, queryType="timeseries", granularity="day", aggregations=[COUNT])
    assert len(days) == 32
    assert sum(day["result"]["n"] for day in days) == 27004
    period = {"type": "period", "period": "P1D", "timeZone": "America/New_York"}
    days = ask(engine, flights, queryType="timeseries", granularity=period, aggregations=[COUNT])
    assert len(days) == 31
    assert days[0] == {"timestamp": "2013-01-01T05:00:00.000Z", "result": {"n": 842}}
    assert sum(day["result"]["n"] for day in days) == 27004


def test_top_carriers(engine: Engine, flights: list[Piece]) -> None:
    """The five that fly most."""
    (top,) = ask(engine, flights, queryType="topN", dimension="carrier", metric="n", threshold=5, aggregations=[COUNT])
    assert top == {
        "timestamp": "2013-01-01T00:00:00.000Z",
        "result": [
            {"carrier": "UA", "n": 4637},
            {"carrier": "B6", "n": 4427},
            {"carrier": "EV", "n": 4171},
            {"carrier": "DL", "n": 3690},
            {"carrier": "AA", "n": 2794},
        ],
    }


def test_group_by_origin(engine: Engine, flights: list[Piece]) -> None:
    """In the order of the values."""
    groups = ask(engine, flights, queryType="groupBy", dimensions=["origin"], aggregations=[COUNT])
    assert [group["event"] for group in groups] == [
        {"origin": "EWR", "n": 9893},
        {"origin": "JFK", "n": 9161},
        {"origin": "LGA", "n": 7950},
    ]
    assert {(group["version"], group["timestamp"]) for group in groups} == {("v1", "2013-01-01T00:00:00.000Z")}


@pytest.mark.parametrize(
    ("filter_", "count"),
    [
        ({"type": "selector", "dimension": "tailnum", "value": "NA"}, 155),
        ({"type": "selector", "dimension": "tailnum", "value": None}, 0),
        ({"type": "selector", "dimension": "dep_delay", "value": None}, 521),
        ({"type": "selector", "dimension": "dep_delay", "value": "NA"}, 0),
        ({"type": "not", "field": {"type": "selector", "dimension": "dep_delay", "value": "NA"}}, 27004 - 521),
        ({"type": "in", "dimension": "origin", "values": ["JFK", "LGA", "ORD"]}, 9161 + 7950),
        ({"type": "bound", "dimension": "distance", "lower": "4983", "ordering": "numeric"}, 31),
    ],
)
def test_filters(engine: Engine, flights: list[Piece], filter_: Any, count: int) -> None:
    """Strings keep NA, numbers have null for it."""
    ((row),) = ask(engine, flights, queryType="timeseries", filter=filter_, aggregations=[COUNT])
    assert row["result"] == {"n": count}


def test_scan_and_time_boundary(engine: Engine, flights: list[Piece]) -> None:
    """The ends of the data, and the rows there."""
    (ends,) = ask(engine, flights, queryType="timeBoundary")
    assert ends["result"] == {"minTime": "2013-01-01T10:00:00.000Z", "maxTime": "2013-02-01T04:00:00.000Z"}
    (batch,) = ask(
        engine,
        flights,
        queryType="scan",
        order="descending",
        limit=2,
        columns=["__time", "tailnum", "dep_delay"],
        filter={"type": "null", "column": "dep_delay"},
        resultFormat="compactedList",
    )
    assert batch["segmentId"].startswith("flights_2013-02-01T00:00:00.000Z_2013-02-02T00:00:00.000Z_")
    assert batch["columns"] == ["__time", "tailnum", "dep_delay"]
    assert [(event[0], event[2]) for event in batch["events"]] == [(1359684000000, None)] * 2
