"""Building segments: which rows go where, what becomes of values, and what is counted as what."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pytest
from segment_files import VERSION, build, shipped_task, task

from druidroles.model.iso import format_iso, parse_iso
from druidroles.segments.build import BuildResult, RowStats
from druidroles.segments.errors import IngestionError, InputError, SpecError
from druidroles.segments.format import exactly

DAY = 86_400_000


def rows(result: BuildResult, columns: str = "*") -> list[tuple[Any, ...]]:
    """All rows in the order of the segments."""
    found = []
    for built in result.segments:
        found += duckdb.execute(f"SELECT {columns} FROM read_parquet($p)", {"p": exactly(built.path)}).fetchall()
    return found


def one_file(data: str, work_dir: Path, **changes: Any) -> list[tuple[Any, ...]]:
    """The rows that a CSV text becomes."""
    return rows(build(task(data, **changes), work_dir))


def test_a_month_of_flights_is_thirty_two_days(tmp_path: Path) -> None:
    """The figures of the data. 606 rows have NA in a numeric column, which becomes null; tailnum keeps its 155."""
    result = build(shipped_task(), tmp_path / "work")
    assert len(result.segments) == 32
    assert sum(built.rows for built in result.segments) == 27004
    assert result.stats == RowStats(26398, 657141, 606, 0, 0)
    assert result.stats.to_json()["processedWithError"] == 606
    assert [built.interval.start_ms for built in result.segments] == [
        parse_iso("2013-01-01") + day * DAY for day in range(32)
    ]
    assert sum(tail == "NA" for (tail,) in rows(result, "tailnum")) == 155
    assert sum(delay is None for (delay,) in rows(result, "dep_delay")) == 521
    segment = result.segments[-1].segment(VERSION)
    assert segment.id == f"flights_2013-02-01T00:00:00.000Z_2013-02-02T00:00:00.000Z_{VERSION}"
    assert segment.dimensions[:3] == ("year", "month", "day")
    assert (segment.metrics, segment.shard_spec.core_partitions) == ((), 1)
    assert segment.size == result.segments[-1].path.stat().st_size
    left = {path.name for path in (tmp_path / "work").iterdir()}
    assert left == {built.path.name for built in result.segments}


def test_rows_are_sorted_by_time_and_then_by_dimensions(tmp_path: Path) -> None:
    """Druid's order within a segment, null first."""
    found = one_file("time,b,a\n2,x,\n1,y,1\n2,,3\n2,x,0\n", tmp_path / "work")
    assert found == [(1, "y", "1"), (2, None, "3"), (2, "x", None), (2, "x", "0")]


TIMES: dict[str, dict[str, str | None]] = {
    "iso": {
        "2013-01-01T10:00:00Z": "2013-01-01T10:00:00Z",
        "2013-01-01T10:00:00.5Z": "2013-01-01T10:00:00.500Z",
        "2013-01-01T10:00:00.123456": "2013-01-01T10:00:00.123Z",
        "2013-01-01T10:00:00+05:30": "2013-01-01T04:30:00Z",
        "2013-01-01T10": "2013-01-01T10:00:00Z",
        "2013-01-01": "2013-01-01T00:00:00Z",
        "2013": "2013-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z": "1969-12-31T23:59:59.999Z",
        "2013-01-01 10:00:00": None,
        "2013-02-30": None,
        "2013-01-01T24:00:00Z": None,
        " 2013-01-01": None,
        "infinity": None,
        "": None,
    },
    "auto": {
        "2013-01-01 10:00:00": "2013-01-01T10:00:00Z",
        "2013-01-01T10:00:00-02:00": "2013-01-01T12:00:00Z",
        "1357034400000": "2013-01-01T10:00:00Z",
        " 2013-01-01T10 ": "2013-01-01T10:00:00Z",
        "tomorrow": None,
    },
    "millis": {
        "1357034400000": "2013-01-01T10:00:00Z",
        "-1": "1969-12-31T23:59:59.999Z",
        "2013-01-01": None,
        "99999999999999999999": None,
    },
    "posix": {"1357034400": "2013-01-01T10:00:00Z", "13570344e2": None},
}


@pytest.mark.parametrize("form", TIMES)
def test_times_are_read_as_druid_reads_them(form: str, tmp_path: Path) -> None:
    """A row whose time cannot be read is unparseable and left out; the others are kept."""
    texts = TIMES[form]
    data = "time,a\n" + "".join(f"{text},text {text}\n" for text in texts)
    result = build(task(data, dataSchema__timestampSpec={"column": "time", "format": form}), tmp_path / "work")
    found = {text.removeprefix("text "): time for time, text in rows(result)}
    assert found == {text: parse_iso(instant) for text, instant in texts.items() if instant is not None}
    assert result.stats.unparseable == sum(instant is None for instant in texts.values())


def test_a_missing_time_takes_the_value_given_for_it(tmp_path: Path) -> None:
    """timestampSpec.missingValue stands in for null, and for a column that is not there."""
    spec = {"column": "time", "missingValue": "2020-02-02"}
    there = parse_iso("2020-02-02")
    assert one_file("time,a\n,x\n7,y\n", tmp_path / "1", dataSchema__timestampSpec=spec) == [(7, "y"), (there, "x")]
    assert one_file("a\nx\n", tmp_path / "2", dataSchema__timestampSpec=spec) == [(there, "x")]
    with pytest.raises(SpecError, match=r"timestampSpec\.column: the input has no column 'time'"):
        one_file("a\nx\n", tmp_path / "3")


def test_numbers_are_read_as_druid_reads_them(tmp_path: Path) -> None:
    """What is no number becomes null and counts as an error once a row; strings keep what they say."""
    lines = ["time,l,d,s", "1,1,1.5,NA", "2,NA,NA,NA", "3,,,", "4,2.0,1e3,x", "5,2.5,+1,", "6, 7,Infinity,1_000"]
    data = "\n".join([*lines, "7,-9223372036854775808,.5,"])
    dimensions = [{"name": "l", "type": "long"}, {"name": "d", "type": "double"}, "s"]
    result = build(task(data, dimensions=dimensions), tmp_path / "work")
    assert rows(result, "l, d, s") == [
        (1, 1.5, "NA"),
        (None, None, "NA"),
        (None, None, None),
        (2, 1000.0, "x"),
        (None, 1.0, None),
        (None, float("inf"), "1_000"),
        (-(2**63), 0.5, None),
    ]
    assert result.stats == RowStats(4, len(data), 3, 0, 0)


def test_empty_is_null_and_quoted_empty_is_not(tmp_path: Path) -> None:
    """As in Druid's CSV parser. Quotes may hold delimiters and, here, line ends."""
    data = 'time,a,b\n1,,""\n2,"x,y","say ""hi"""\n3,"two\nlines",z\n'
    assert one_file(data, tmp_path / "work") == [
        (1, None, ""),
        (2, "x,y", 'say "hi"'),
        (3, "two\nlines", "z"),
    ]


def test_rows_too_short_are_padded_and_rows_too_long_are_counted(tmp_path: Path) -> None:
    """Nothing is dropped without being counted. Blank lines are nothing."""
    result = build(task("time,a,b\n1,x\n\n2,x,y,z\n3,x,y\n"), tmp_path / "work")
    assert rows(result) == [(1, "x", None), (3, "x", "y")]
    assert (result.stats.processed, result.stats.unparseable) == (2, 1)


def test_text_that_is_not_utf8_is_counted(tmp_path: Path) -> None:
    """One bad line hurts only itself."""
    (tmp_path / "in.csv").write_bytes(b"time,a\n1,\xff\n2,x\n")
    source = {"type": "local", "files": [str(tmp_path / "in.csv")]}
    result = build(task("", ioConfig__inputSource=source), tmp_path / "work")
    assert (rows(result), result.stats.unparseable) == ([(2, "x")], 1)


def test_rows_outside_the_intervals_are_thrown_away(tmp_path: Path) -> None:
    """granularitySpec.intervals says what the task may write."""
    data = "time,a\n2013-01-01,x\n2013-01-02,y\n2013-01-03,z\nnever,w\n"
    changes = {"dataSchema__granularitySpec__intervals": ["2013-01-01/P1D", "2013-01-03/P1D"]}
    result = build(task(data, **changes), tmp_path / "work")
    assert [row[1] for row in rows(result)] == ["x", "z"]
    stats = result.stats
    assert (stats.processed, stats.thrown_away, stats.unparseable) == (2, 1, 1)


def test_without_named_dimensions_all_columns_are_strings(tmp_path: Path) -> None:
    """But the time, what is excluded, and what metrics read."""
    data = "time,b,x,a,,m\n1,1,2,3,4,5\n"
    result = build(
        task(
            data,
            dataSchema__dimensionsSpec={"dimensionExclusions": ["x"]},
            dataSchema__metricsSpec=[{"type": "longSum", "name": "sum", "fieldName": "m"}],
        ),
        tmp_path / "work",
    )
    assert result.segments[0].dimensions == ("b", "a", "column_5")
    assert rows(result) == [(1, "1", "3", "4", 5)]


def test_names_of_columns_mean_nothing(tmp_path: Path) -> None:
    """Names that are ours, or SQL, or differ by case, are names like others."""
    data = 'time,__time,bucket_start,cut,has_fault,d0,"a ""b""; DROP TABLE typed",Case,case\n1,2,3,4,5,6,7,8,9\n'
    named = ["bucket_start", "cut", "has_fault", "d0", 'a "b"; DROP TABLE typed', "case"]
    assert one_file(data, tmp_path / "1", dimensions=named) == [(1, "3", "4", "5", "6", "7", "9")]
    with pytest.raises(SpecError, match="'Case' is given twice"):
        one_file("time,Case,case\n1,2,3\n", tmp_path / "2")
    with pytest.raises(InputError, match="names the column 'a' twice"):
        one_file("time,a,a\n1,2,3\n", tmp_path / "3")


def test_rollup_groups_rows_of_one_time_and_dimensions(tmp_path: Path) -> None:
    """Times are cut to the query granularity, metrics aggregated, null kept apart from nothing."""
    data = "time,a,v\n2013-01-01T01:10,x,1\n2013-01-01T01:50,x,2\n2013-01-01T02:10,x,\n2013-01-01T01:20,,NA\n"
    metrics = [
        {"type": "count", "name": "n"},
        {"type": "longSum", "name": "sum", "fieldName": "v"},
        {"type": "doubleMax", "name": "max", "fieldName": "v"},
    ]
    changes: dict[str, Any] = {
        "dimensions": ["a"],
        "dataSchema__metricsSpec": metrics,
        "dataSchema__granularitySpec": {"queryGranularity": "HOUR"},
    }
    result = build(task(data, **changes), tmp_path / "1")
    one, two = parse_iso("2013-01-01T01"), parse_iso("2013-01-01T02")
    assert rows(result) == [(one, None, 1, None, None), (one, "x", 2, 3, 2.0), (two, "x", 1, None, None)]
    assert result.stats == RowStats(3, len(data), 1, 0, 0)
    assert result.segments[0].metrics == ("n", "sum", "max")
    changes["dataSchema__granularitySpec"] = {"rollup": False}
    found = one_file(data, tmp_path / "2", **changes)
    assert [row[2:] for row in found] == [(1, 1, 1.0), (1, None, None), (1, 2, 2.0), (1, None, None)]


def test_a_query_granularity_never_reaches_before_its_segment(tmp_path: Path) -> None:
    """As in Druid: a week that began in the segment before is cut at the segment's start."""
    changes = {"dataSchema__granularitySpec__queryGranularity": "WEEK"}
    found = one_file("time,a\n2013-01-07T05,x\n2013-01-09T05,y\n", tmp_path / "1", **changes)
    assert [format_iso(row[0])[:13] for row in found] == ["2013-01-07T00", "2013-01-09T00"]
    changes = {"dataSchema__granularitySpec__queryGranularity": "ALL"}
    found = one_file("time,a\n2013-01-07T05,x\n", tmp_path / "2", **changes)
    assert [format_iso(row[0])[:13] for row in found] == ["2013-01-07T00"]


def test_segments_follow_the_granularity(tmp_path: Path) -> None:
    """Also before 1970, far apart, by calendar and zone, or all in one."""
    data = "time,a\n-1,x\n0,y\n2262-01-01T00:00:00Z,z\n"

    def starts(name: str, granularity: Any) -> list[str]:
        result = build(task(data, dataSchema__granularitySpec__segmentGranularity=granularity), tmp_path / name)
        assert sum(built.rows for built in result.segments) == 3
        return [format_iso(built.interval.start_ms)[:13] for built in result.segments]

    assert starts("day", "DAY") == ["1969-12-31T00", "1970-01-01T00", "2262-01-01T00"]
    assert starts("hour", "hour") == ["1969-12-31T23", "1970-01-01T00", "2262-01-01T00"]
    assert starts("month", {"type": "period", "period": "P1M", "timeZone": "America/New_York"}) == [
        "1969-12-01T05",
        "2261-12-01T05",
    ]
    assert starts("all", "ALL") == ["-146136543-09"]


def test_a_day_too_big_is_cut_into_partitions(tmp_path: Path) -> None:
    """maxRowsPerSegment. The partitions of a day know how many they are."""
    data = "time,a\n" + "".join(f"{n},x{n}\n" for n in range(7)) + f"{DAY},y\n"
    result = build(task(data, tuningConfig__partitionsSpec={"maxRowsPerSegment": 3}), tmp_path / "work")
    assert [(built.partition_num, built.partitions, built.rows) for built in result.segments] == [
        (0, 3, 3),
        (1, 3, 3),
        (2, 3, 1),
        (0, 1, 1),
    ]
    assert [row[0] for row in rows(result)] == [0, 1, 2, 3, 4, 5, 6, DAY]
    segments = [built.segment("v") for built in result.segments]
    assert [segment.id.rpartition("Z_v")[2] for segment in segments] == ["", "_1", "_2", ""]
    assert segments[2].shard_spec.to_json() == {"type": "numbered", "partitionNum": 2, "partitions": 3}


def test_files_need_not_have_the_same_columns(tmp_path: Path) -> None:
    """Each has its own header, in its own order; some are compressed, one is empty, one has a byte order mark."""
    (tmp_path / "in[1]").mkdir()
    (tmp_path / "in1").mkdir()
    (tmp_path / "in1" / "a.csv").write_bytes(b"time,a,b\n9,what the name would fit,were it a pattern\n")
    (tmp_path / "in[1]" / "a.csv").write_bytes(b"\xef\xbb\xbftime,a,b\r\n1,x,y\r\n")
    (tmp_path / "in[1]" / "b.csv.gz").write_bytes(gzip.compress(b"b,c,time\ny,z,2\n"))
    (tmp_path / "in[1]" / "c.csv").write_bytes(b"")
    (tmp_path / "in[1]" / "d.txt").write_bytes(b"not,asked,for\n")
    source = {"type": "local", "baseDir": str(tmp_path / "in[1]"), "filter": "*.csv*"}
    result = build(task("", ioConfig__inputSource=source), tmp_path / "work")
    assert result.segments[0].dimensions == ("a", "b", "c")
    assert rows(result) == [(1, "x", "y", None), (2, None, "y", "z")]


def test_columns_may_be_given_instead_of_a_header(tmp_path: Path) -> None:
    """Then the first line is data, unless lines are skipped."""
    form = {"type": "tsv", "columns": ["time", "a"], "delimiter": ";", "skipHeaderRows": 1}
    assert one_file("junk\n1;x\n2;y\n", tmp_path / "work", ioConfig__inputFormat=form) == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("data", ["", "time,a\n", "time,a\n\n"])
def test_no_rows_make_no_segments(data: str, tmp_path: Path) -> None:
    """Empty input is no fault."""
    result = build(task(data), tmp_path / "work")
    assert result.segments == ()
    assert result.stats == RowStats(processed_bytes=len(data))


def test_input_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing files and directories, a pattern that fits nothing, compression that is not known, a broken gzip."""
    (tmp_path / "broken.csv.gz").write_bytes(b"time,a\n1,x\n")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"time,a\n" + b"1,x\n" * 9999)[:40])
    (tmp_path / "x.zst").write_bytes(b"")
    for number, (source, named) in enumerate(
        [
            ({"files": [str(tmp_path / "none.csv")]}, "none.csv"),
            ({"baseDir": str(tmp_path / "nowhere")}, "baseDir"),
            ({"baseDir": str(tmp_path), "filter": "*.tsv"}, "'*.tsv'"),
            ({"files": [str(tmp_path / "x.zst")]}, "x.zst"),
            ({"files": [str(tmp_path / "broken.csv.gz")]}, "broken.csv.gz"),
            ({"files": [str(tmp_path / "cut.csv.gz")]}, "cut.csv.gz"),
        ]
    ):
        with pytest.raises(IngestionError) as caught:
            build(task("", ioConfig__inputSource={"type": "local", **source}), tmp_path / f"work{number}")
        assert named in str(caught.value)
