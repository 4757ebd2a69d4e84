"""The metrics of a process and their text."""

from __future__ import annotations

import pytest

from druidroles.http import metrics as module
from druidroles.http.metrics import Metrics


def test_names_are_druids_with_underscores_and_lines_are_prometheus_own() -> None:
    metrics = Metrics()
    queries = metrics.counter("query/count", "queries answered")
    metrics.gauge("segment/count", "segments served", lambda: [({"dataSource": "a"}, 3), ({"dataSource": 'b"\n'}, 1.5)])
    queries.add()
    queries.add(2, type="topN")
    assert metrics.render() == (
        "# HELP druid_query_count queries answered (Druid's query/count)\n"
        "# TYPE druid_query_count counter\n"
        "druid_query_count 1\n"
        'druid_query_count{type="topN"} 2\n'
        "# HELP druid_segment_count segments served (Druid's segment/count)\n"
        "# TYPE druid_segment_count gauge\n"
        'druid_segment_count{dataSource="a"} 3\n'
        'druid_segment_count{dataSource="b\\"\\n"} 1.5\n'
    )


def test_a_counter_is_there_before_it_counts_and_a_timer_is_not() -> None:
    metrics = Metrics()
    metrics.counter("query/failed/count", "failures")
    metrics.timer("query/time", "seconds")
    assert "druid_query_failed_count 0\n" in metrics.render()
    assert "druid_query_time_count" not in metrics.render()


def test_a_timer_is_a_histogram_whose_buckets_add_up() -> None:
    timer = Metrics().timer("query/node/time", "seconds")
    for seconds in (0.05, 0.1, 0.3, 1000.0):
        timer.observe(seconds, server="h1")
    lines = {(suffix, dict(key).get("le")): value for suffix, key, value in timer.samples()}
    assert lines["_bucket", "0.1"] == 2  # a limit belongs to its own bucket
    assert lines["_bucket", "0.25"] == 2
    assert lines["_bucket", "300.0"] == 3
    assert lines["_bucket", "+Inf"] == lines["_count", None] == timer.count(server="h1") == 4
    assert lines["_sum", None] == pytest.approx(1000.45)


def test_the_time_of_a_block_counts_also_where_it_raises() -> None:
    timer = Metrics().timer("query/time", "seconds")
    with pytest.raises(ValueError, match="boom"), timer.time(type="scan"):
        raise ValueError("boom")
    assert timer.count(type="scan") == 1


def test_labels_are_bounded_and_the_sum_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERIES_MAX", 3)
    counter = Metrics().counter("query/count", "queries")
    for number in range(10):
        counter.add(dataSource=f"d{number}")
    assert [counter.value(dataSource=name) for name in ("d0", "d1", "d2", "other")] == [1, 1, 1, 7]
    assert sum(value for _, _, value in counter.samples()) == 10


def test_one_name_is_one_metric_of_one_kind() -> None:
    metrics = Metrics()
    assert metrics.counter("query/count", "a") is metrics.counter("query/count", "b")
    with pytest.raises(TypeError, match="query/count is a counter"):
        metrics.timer("query/count", "c")
    gauge = metrics.gauge("segment/max", "bytes")
    gauge.set(5, tier="hot")
    assert metrics.gauge("segment/max", "bytes") is gauge
    gauge.remove(tier="hot")
    assert "druid_segment_max{" not in metrics.render()
