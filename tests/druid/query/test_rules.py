"""Druid's rules for results over nothing, over null, and over what is no number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from segment_files import build, pieces, task

from druidroles.query import merge as merging
from druidroles.query import scan as scanning
from druidroles.query import sql
from druidroles.query.engine import Engine, PiecesGoneError
from druidroles.query.errors import QueryCancelledError, ResourceLimitError
from druidroles.query.merge import merge
from druidroles.query.model import parse_query
from druidroles.query.relation import Piece

COUNT = {"type": "count", "name": "n"}
SUM = {"type": "longSum", "name": "sum", "fieldName": "l"}
DAY = "1970-01-01T00:00:00.000Z"


@pytest.fixture
def wiki(tmp_path: Path) -> list[Piece]:
    """Four rows on two days."""
    data = "time,s,l,d\n1,a,1,NaN\n2,,,1.5\n3,b,9223372036854775807,-Infinity\n172800000,NA,5,\n"
    dimensions = ["s", {"name": "l", "type": "long"}, {"name": "d", "type": "double"}]
    return pieces(build(task(data, dimensions=dimensions), tmp_path / "work"))


def ask(engine: Engine, served: list[Piece], kind: str, **more: Any) -> Any:
    """The answer of one server, merged, as JSON."""
    query = {"queryType": kind, "dataSource": "wiki", "intervals": ["1970-01-01/1970-01-04"], "granularity": "all"}
    parsed = parse_query({**query, "aggregations": [COUNT, SUM], **more})
    partial = json.loads(json.dumps(engine.start(parsed, served).run(), allow_nan=False))
    return json.loads(json.dumps(merge(parsed, [partial]), allow_nan=False))


NOTHING = {"type": "selector", "dimension": "s", "value": "nobody"}


def test_over_no_data(engine: Engine, wiki: list[Piece]) -> None:
    """A timeseries over all is one row, count 0 and sum null; in buckets it is none. The others are empty."""
    one = [{"timestamp": DAY, "result": {"n": 0, "sum": None}}]
    for served, filter_ in (([], None), (wiki, NOTHING)):
        assert ask(engine, served, "timeseries", filter=filter_) == one
        assert ask(engine, served, "timeseries", filter=filter_, context={"skipEmptyBuckets": True}) == []
        top = {"dimension": "s", "metric": "n", "threshold": 1}
        assert ask(engine, served, "topN", filter=filter_, **top) == []
        assert ask(engine, served, "groupBy", filter=filter_, dimensions=["s"]) == []
        assert ask(engine, served, "groupBy", filter=filter_) == [
            {"version": "v1", "timestamp": DAY, "event": {"n": 0, "sum": None}}
        ]
        assert ask(engine, served, "scan", filter=filter_) == []
        assert ask(engine, served, "timeBoundary", filter=filter_) == []
    assert ask(engine, [], "timeseries", granularity="day") == []
    assert ask(engine, [], "timeseries", intervals=[]) == []


def test_empty_buckets_between_data_are_filled(engine: Engine, wiki: list[Piece]) -> None:
    """Also where a filter left nothing; not before the first row nor after the last."""
    days = ask(engine, wiki, "timeseries", granularity="day", intervals=["1969-12-01/1970-02-01"])
    assert [(day["timestamp"][:10], day["result"]["n"]) for day in days] == [
        ("1970-01-01", 3),
        ("1970-01-02", 0),
        ("1970-01-03", 1),
    ]
    assert days[1]["result"] == {"n": 0, "sum": None}
    days = ask(engine, wiki, "timeseries", granularity="day", filter=NOTHING, descending=True, limit=2)
    assert [day["timestamp"][:10] for day in days] == ["1970-01-03", "1970-01-02"]
    days = ask(engine, wiki, "timeseries", granularity="day", context={"skipEmptyBuckets": True})
    assert [day["timestamp"][:10] for day in days] == ["1970-01-01", "1970-01-03"]


def test_null_is_a_value_of_a_dimension(engine: Engine, wiki: list[Piece]) -> None:
    """It comes first going up and last going down; NA is a string like others."""
    (top,) = ask(engine, wiki, "topN", dimension="s", metric={"type": "dimension"}, threshold=9)
    assert [row["s"] for row in top["result"]] == [None, "NA", "a", "b"]
    order = {"columns": [{"dimension": "sum", "direction": "descending"}]}
    groups = ask(engine, wiki, "groupBy", dimensions=["s"], limitSpec=order)
    assert [group["event"]["sum"] for group in groups] == [2**63 - 1, 5, 1, None]


def test_sums_of_longs_wrap(engine: Engine, wiki: list[Piece]) -> None:
    """At 64 bits, as in Java, on one server and in the merge."""
    ((row),) = ask(engine, wiki, "timeseries")
    assert row["result"] == {"n": 4, "sum": 2**63 - 1 + 6 - 2**64}
    query = parse_query(
        {"queryType": "timeseries", "dataSource": "wiki", "intervals": "1970/1971", "aggregations": [SUM]}
    )
    partials = [[{"timestamp": DAY, "result": {"sum": 2**63 - 1}}], [{"timestamp": DAY, "result": {"sum": 1}}]]
    assert merge(query, partials)[0]["result"] == {"sum": -(2**63)}


def test_doubles_that_are_no_numbers_travel_as_text(engine: Engine, wiki: list[Piece]) -> None:
    """JSON has no NaN. They are ordered all the same: NaN above all."""
    ends = [{"type": f"double{end}", "name": end, "fieldName": "d"} for end in ("Min", "Max", "Sum")]
    ((row),) = ask(engine, wiki, "timeseries", aggregations=ends)
    assert row["result"] == {"Min": "-Infinity", "Max": "NaN", "Sum": "NaN"}
    dimension = {"type": "default", "dimension": "d", "outputName": "d", "outputType": "DOUBLE"}
    groups = ask(engine, wiki, "groupBy", dimensions=[dimension])
    assert [group["event"]["d"] for group in groups] == [None, "-Infinity", 1.5, "NaN"]
    query = parse_query(
        {"queryType": "timeseries", "dataSource": "w", "intervals": "1970/1971", "aggregations": ends[:2]}
    )
    for parts in ((1.0, "NaN"), ("NaN", 1.0)):
        partials = [[{"timestamp": DAY, "result": {"Min": part, "Max": part}}] for part in parts]
        assert merge(query, partials)[0]["result"] == {"Min": 1.0, "Max": "NaN"}


def test_longs_are_exact(engine: Engine, wiki: list[Piece]) -> None:
    """A value that no double holds is found by its digits, and by no neighbour's."""
    for value, count in ((2**63 - 1, 1), (2**63 - 2, 0), ("9223372036854775807.0", 0), ("1.0", 1)):
        filter_ = {"type": "selector", "dimension": "l", "value": value}
        assert ask(engine, wiki, "timeseries", filter=filter_)[0]["result"]["n"] == count


def test_having_keeps_groups(engine: Engine, wiki: list[Piece]) -> None:
    """Judged after the merge, on the whole of a group. What is null is not greater than anything."""
    having = {
        "type": "or",
        "havingSpecs": [
            {"type": "and", "havingSpecs": [{"type": "greaterThan", "aggregation": "sum", "value": 4}]},
            {"type": "dimSelector", "dimension": "s", "value": None},
        ],
    }
    groups = ask(engine, wiki, "groupBy", dimensions=["s"], having=having)
    assert [group["event"]["s"] for group in groups] == [None, "NA", "b"]
    groups = ask(engine, wiki, "groupBy", dimensions=["s"], having={"type": "not", "havingSpec": having})
    assert [group["event"]["s"] for group in groups] == ["a"]


def test_nothing_grows_without_bound(engine: Engine, wiki: list[Piece], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one server, groups of a merge, buckets of time: each has a limit, and the error names it."""
    monkeypatch.setattr(scanning, "SCAN_ROWS_MAX", 3)
    with pytest.raises(ResourceLimitError, match="more than 3 rows"):
        ask(engine, wiki, "scan")
    assert sum(len(batch["events"]) for batch in ask(engine, wiki, "scan", limit=3)) == 3
    monkeypatch.setattr(merging, "GROUPS_MAX", 2)
    with pytest.raises(ResourceLimitError, match="more than 2 groups"):
        ask(engine, wiki, "groupBy", dimensions=["s"])
    monkeypatch.setattr(sql, "BUCKETS_MAX", 2)
    with pytest.raises(ResourceLimitError, match="more than 2 buckets"):
        ask(engine, wiki, "timeseries", granularity="day")


def test_an_execution_is_interrupted_before_it_begins(engine: Engine, wiki: list[Piece]) -> None:
    """An interrupt is not lost on a query that still waits for its thread."""
    query = parse_query({"queryType": "timeBoundary", "dataSource": "wiki"})
    execution = engine.start(query, wiki)
    execution.interrupt()
    with pytest.raises(QueryCancelledError):
        execution.run()
    execution.interrupt()
    assert not execution.running


def test_a_closed_engine_runs_nothing(tmp_path: Path, wiki: list[Piece]) -> None:
    """What was started before and what comes after is told so."""
    engine = Engine(tmp_path / "spill")
    query = parse_query({"queryType": "timeBoundary", "dataSource": "wiki"})
    execution = engine.start(query, wiki)
    engine.close()
    with pytest.raises(QueryCancelledError):
        execution.run()
    with pytest.raises(QueryCancelledError):
        engine.start(query, wiki)


def test_a_file_that_is_gone_is_named_and_forgotten(engine: Engine, wiki: list[Piece], tmp_path: Path) -> None:
    """Another file may come to lie there, with other columns."""
    query = parse_query({"queryType": "scan", "dataSource": "wiki", "intervals": "1970/1971"})
    assert engine.start(query, wiki).run()
    aside = wiki[0].path.rename(tmp_path / "aside")
    with pytest.raises(PiecesGoneError) as caught:
        engine.start(query, wiki).run()
    assert caught.value.pieces == (wiki[0],)
    other = build(task("time,x\n7,y\n"), tmp_path / "other").segments[0]
    other.path.rename(wiki[0].path)
    first = engine.start(query, wiki[:1]).run()
    assert first[0]["events"] == [{"__time": 7, "x": "y"}]
    assert aside.exists()


def test_a_filter_may_spell_a_number_of_any_length(engine: Engine, wiki: list[Piece]) -> None:
    """It is compared as a number, and equals no row; Python would refuse to read it."""
    for value in ("9" * 5_000, "0" * 5_000 + "7", "0" * 5_000 + ".5"):
        filter_ = {"type": "selector", "dimension": "d", "value": value}
        ((row),) = ask(engine, wiki, "timeseries", filter=filter_)
        assert row["result"]["n"] == 0
