"""Queries as JSON: what is malformed or not supported is refused by name, and nothing that counts is ignored."""

from __future__ import annotations

from typing import Any

import pytest

from druidroles.model.interval import ETERNITY, Interval
from druidroles.query.errors import BadQueryError, UnsupportedQueryError
from druidroles.query.filters import Bound, Ordering, Selector
from druidroles.query.model import (
    DEFAULT_TIMEOUT_MS,
    MAX_TIMEOUT_MS,
    ScanQuery,
    TimeseriesQuery,
    TopNQuery,
    parse_query,
)

COUNT = {"type": "count", "name": "n"}
BASE = {"dataSource": "wiki", "intervals": "2013-01-01/2013-01-03", "granularity": "all", "aggregations": [COUNT]}
TIMESERIES = {"queryType": "timeseries", **BASE}
TOP_N = {"queryType": "topN", **BASE, "dimension": "a", "metric": "n", "threshold": 5}
GROUP_BY = {"queryType": "groupBy", **BASE, "dimensions": ["a"]}
SCAN = {"queryType": "scan", "dataSource": "wiki", "intervals": "2013-01-01/2013-01-03"}
BOUNDARY = {"queryType": "timeBoundary", "dataSource": "wiki"}


def nested(depth: int) -> Any:
    """A filter in so many others."""
    node: Any = {"type": "null", "column": "a"}
    for _ in range(depth):
        node = {"type": "not", "field": node}
    return node


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"queryType": "search"}, "queryType 'search'"),
        ({"queryType": "segmentMetadata"}, "there are groupBy, scan, timeBoundary, timeseries, topN"),
        ({**TIMESERIES, "virtualColumns": [{"type": "expression"}]}, "virtualColumns is not supported"),
        ({**TIMESERIES, "postAggregations": [{"type": "constant"}]}, "postAggregations is not supported"),
        ({**TIMESERIES, "filter": {"type": "like"}}, "filter.type: filter type 'like'"),
        (
            {**TIMESERIES, "filter": {"type": "and", "fields": [nested(0), {"type": "regex"}]}},
            "filter.fields[1].type: filter type 'regex'",
        ),
        (
            {**TIMESERIES, "filter": {"type": "selector", "dimension": "a", "extractionFn": {"type": "x"}}},
            "extractionFn",
        ),
        (
            {**TIMESERIES, "filter": {"type": "bound", "dimension": "a", "lower": "1", "ordering": "strlen"}},
            "ordering 'strlen'",
        ),
        (
            {**TIMESERIES, "aggregations": [{"type": "hyperUnique"}]},
            "aggregations[0].type: aggregator type 'hyperUnique'",
        ),
        (
            {**TIMESERIES, "aggregations": [{"type": "longSum", "name": "x", "expression": "a + b"}]},
            "aggregations[0].expression is not supported",
        ),
        ({**TIMESERIES, "dataSource": {"type": "union"}}, "dataSource.type 'union'"),
        ({**TIMESERIES, "intervals": {"type": "other"}}, "intervals.type 'other'"),
        ({**TIMESERIES, "context": {"bySegment": True}}, "context.bySegment"),
        ({**TIMESERIES, "context": {"grandTotal": True}}, "context.grandTotal"),
        (
            {**TOP_N, "dimension": {"type": "extraction", "dimension": "a"}},
            "dimension.type: dimension spec 'extraction'",
        ),
        (
            {**TOP_N, "dimension": {"type": "extraction", "dimension": "a", "extractionFn": {"type": "upper"}}},
            "dimension.type: dimension spec 'extraction'",
        ),
        ({**TOP_N, "metric": {"type": "dimension", "ordering": {"type": "strlen"}}}, "metric.ordering"),
        ({**TOP_N, "metric": {"type": "lexicographic", "previousStop": "b"}}, "metric.previousStop"),
        (
            {**TIMESERIES, "filter": {"type": "bound", "dimension": "a", "lower": "1", "alphaNumeric": True}},
            "filter.alphaNumeric is not supported",
        ),
        ({**SCAN, "legacy": True}, "legacy is not supported"),
        ({**TOP_N, "metric": {"type": "other"}}, "metric.type: metric type 'other'"),
        ({**GROUP_BY, "subtotalsSpec": [["a"]]}, "subtotalsSpec is not supported"),
        ({**GROUP_BY, "having": {"type": "filter"}}, "having.type: having type 'filter'"),
        ({**GROUP_BY, "limitSpec": {"type": "other"}}, "limitSpec.type 'other'"),
        ({**GROUP_BY, "dimensions": [{"dimension": "a", "outputType": "ARRAY<LONG>"}]}, "dimensions[0].outputType"),
        ({**SCAN, "resultFormat": "valueVector"}, "resultFormat 'valueVector'"),
        ({**SCAN, "orderBy": [{"columnName": "a", "order": "ascending"}]}, "orderBy is supported for __time alone"),
    ],
)
def test_what_is_not_supported_is_named(query: Any, named: str) -> None:
    """Druid's error says 501 "Unsupported operation", and where in the query the thing is."""
    with pytest.raises(UnsupportedQueryError) as caught:
        parse_query(query)
    assert named in caught.value.message
    assert (caught.value.status, caught.value.error) == (501, "Unsupported operation")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (7, "the query must be an object"),
        ({}, "queryType is missing"),
        ({"queryType": 7}, "queryType must be a string"),
        ({"queryType": "nope"}, "queryType 'nope' is not a type of query"),
        ({**TIMESERIES, "intervals": "2013/2014,,2015/2016"}, "intervals: '' is not an interval"),
        ({**TIMESERIES, "granularity": {"type": "duration", "duration": "1e3"}}, "granularity: duration"),
        (
            {
                **TIMESERIES,
                "filter": {
                    "type": "bound",
                    "dimension": "a",
                    "lower": "1",
                    "ordering": {"type": "lexicographic"},
                    "alphaNumeric": True,
                },
            },
            "filter.alphaNumeric and filter.ordering contradict each other",
        ),
        (
            {**SCAN, "order": "descending", "orderBy": [{"columnName": "__time", "order": "ascending"}]},
            "order and orderBy contradict",
        ),
        ({**TIMESERIES, "dataSource": None}, "dataSource must be a string"),
        ({**TIMESERIES, "dataSource": {"type": "table"}}, "dataSource.name is missing"),
        ({"queryType": "timeseries", "dataSource": "wiki"}, "intervals is missing"),
        ({**TIMESERIES, "intervals": ["2013"]}, "intervals: '2013' is not an interval"),
        ({**TIMESERIES, "intervals": ["2013-01-02/2013-01-01"]}, "intervals: an interval ends before"),
        ({**TIMESERIES, "intervals": [7]}, "intervals must hold strings"),
        ({**TIMESERIES, "granularity": "fortnight"}, "granularity: granularity 'fortnight'"),
        ({**TIMESERIES, "granularity": {"type": "period", "period": "P1D", "timeZone": "Mars"}}, "granularity: 'Mars'"),
        ({**TIMESERIES, "context": []}, "context must be an object"),
        ({**TIMESERIES, "context": {"timeout": "soon"}}, "context.timeout must be a whole number"),
        *(
            ({**TIMESERIES, "context": {"timeout": text}}, "context.timeout must be a whole number")
            for text in ("--5", "²", "9" * 5_000, "1_0")
        ),
        ({**TIMESERIES, "context": {"timeout": -1}}, "context.timeout must be at least 0"),
        ({**TIMESERIES, "descending": 1}, "descending must be true or false"),
        ({**TIMESERIES, "limit": 1.5}, "limit must be a whole number"),
        ({**TIMESERIES, "aggregations": {}}, "aggregations must be an array"),
        ({**TIMESERIES, "aggregations": [COUNT, COUNT]}, "'n' is given twice"),
        ({**TIMESERIES, "aggregations": [{"type": "longSum", "name": "x"}]}, "aggregations[0].fieldName is missing"),
        ({**TIMESERIES, "aggregations": [{"type": "filtered"}]}, "aggregations[0].filter is missing"),
        ({**TIMESERIES, "filter": []}, "filter must be an object"),
        ({**TIMESERIES, "filter": {"type": "selector", "value": "x"}}, "filter.dimension is missing"),
        ({**TIMESERIES, "filter": {"type": "selector", "dimension": "a", "value": []}}, "filter.value must be"),
        ({**TIMESERIES, "filter": {"type": "in", "dimension": "a"}}, "filter.values is missing"),
        ({**TIMESERIES, "filter": {"type": "in", "dimension": "a", "values": [[]]}}, "filter.values[0] must be"),
        ({**TIMESERIES, "filter": {"type": "bound", "dimension": "a"}}, "must have lower or upper"),
        ({**TIMESERIES, "filter": {"type": "or", "fields": []}}, "filter.fields must hold at least one"),
        ({**TIMESERIES, "filter": {"type": "not"}}, "filter.field is missing"),
        ({**TIMESERIES, "filter": nested(100)}, "filter is nested more than 64 deep"),
        ({**TOP_N, "threshold": 0}, "threshold must be at least 1"),
        ({**TOP_N, "threshold": None}, "threshold is missing"),
        ({**TOP_N, "dimension": None}, "dimension is missing"),
        ({**TOP_N, "metric": "other"}, "metric: no aggregation is named 'other'"),
        ({**GROUP_BY, "dimensions": ["n"]}, "the output name 'n' is given twice"),
        ({**GROUP_BY, "limitSpec": {"columns": ["b"]}}, "limitSpec.columns[0]: the result has no column 'b'"),
        ({**GROUP_BY, "limitSpec": {"columns": [{"dimension": "a", "direction": "up"}]}}, "direction 'up'"),
        ({**GROUP_BY, "having": {"type": "greaterThan", "aggregation": "n", "value": "x"}}, "having.value must be"),
        ({**SCAN, "columns": [1]}, "columns must hold strings"),
        ({**SCAN, "order": "up"}, "order 'up'"),
        ({**SCAN, "order": "ascending", "columns": ["a"]}, "needs __time among the columns"),
        ({**SCAN, "batchSize": 0}, "batchSize must be at least 1"),
        ({**BOUNDARY, "bound": "middle"}, "bound 'middle'"),
        (
            {**SCAN, "intervals": {"type": "segments", "segments": [{"itvl": "2013/2014", "ver": "1"}]}},
            "intervals.segments[0]: part is missing",
        ),
    ],
)
def test_what_is_malformed_is_named(query: Any, named: str) -> None:
    """Druid's error says 400, and which field is at fault."""
    with pytest.raises(BadQueryError) as caught:
        parse_query(query)
    assert named in caught.value.message
    assert caught.value.status == 400


def test_a_query_is_read_whole() -> None:
    """With defaults, with numbers and booleans as text, as Druid takes them."""
    query = parse_query(
        {**TIMESERIES, "descending": "true", "limit": "7", "context": {"queryId": "q", "timeout": "50"}}
    )
    assert isinstance(query, TimeseriesQuery)
    assert (query.descending, query.limit, query.skip_empty) == (True, 7, False)
    assert (query.query_id, query.timeout_ms) == ("q", 50)
    assert parse_query(TIMESERIES).timeout_ms == DEFAULT_TIMEOUT_MS == 300_000
    assert parse_query({**TIMESERIES, "context": {"timeout": 0}}).timeout_ms == MAX_TIMEOUT_MS
    assert parse_query(BOUNDARY).intervals == (ETERNITY,)
    scan = parse_query(SCAN)
    assert isinstance(scan, ScanQuery)
    assert (scan.names, scan.limit, scan.offset, scan.order, scan.batch_size) == ((), 0, 0, 0, 20480)
    table = parse_query({**SCAN, "dataSource": {"type": "table", "name": "t"}})
    assert table.data_source == "t"
    inverted = parse_query({**TOP_N, "metric": {"type": "inverted", "metric": {"type": "numeric", "metric": "n"}}})
    assert isinstance(inverted, TopNQuery)
    assert (inverted.metric.name, inverted.metric.descending) == ("n", False)


def test_values_of_filters_are_text() -> None:
    """As Jackson makes strings of them; null stays null."""
    for value, told in ((5, "5"), (1.5, "1.5"), (True, "true"), (None, None), ("", "")):
        filter_ = {"type": "selector", "dimension": "a", "value": value}
        assert parse_query({**SCAN, "filter": filter_}).filter == Selector("a", told)
    bound = {"type": "bound", "dimension": "a", "upper": 5, "upperStrict": True, "ordering": {"type": "numeric"}}
    assert parse_query({**SCAN, "filter": bound}).filter == Bound("a", None, "5", False, True, Ordering.NUMERIC)


def test_intervals_are_condensed() -> None:
    """Time that is asked for twice is counted once."""
    texts = ["2013-01-05/2013-01-07", "2013-01-01/2013-01-03", "2013-01-02/2013-01-04", "2013-01-09/2013-01-09"]
    query = parse_query({**SCAN, "intervals": texts})
    assert query.intervals == (Interval.parse("2013-01-01/2013-01-04"), Interval.parse("2013-01-05/2013-01-07"))
    as_object = parse_query({**SCAN, "intervals": {"type": "intervals", "intervals": texts}})
    assert as_object.intervals == query.intervals


def test_what_a_data_server_gets_is_the_query_with_other_intervals() -> None:
    """Read again it names the same pieces and is otherwise the same."""
    segments = [{"itvl": "2013-01-01/2013-01-02", "ver": "v", "part": 1}]
    query = parse_query({**TOP_N, "intervals": {"type": "segments", "segments": segments}})
    assert query.segments is not None
    passed_on = query.for_segments(query.segments, 70)
    assert passed_on["context"]["timeout"] == 70
    again = parse_query(passed_on)
    assert isinstance(again, TopNQuery)
    assert (again.segments, again.timeout_ms) == (query.segments, 70)
    assert again.metric == parse_query(TOP_N).metric


def test_a_dimension_without_a_type_is_of_strings() -> None:
    """As in Druid, which has a class without an output type for it."""
    for spec, told in (({"type": "default"}, "LONG"), ({}, "STRING"), ({"type": "LegacyDimensionSpec"}, "STRING")):
        query = parse_query({**TOP_N, "dimension": {**spec, "dimension": "a", "outputType": "LONG"}})
        assert isinstance(query, TopNQuery)
        assert query.dimension.output_type == told
