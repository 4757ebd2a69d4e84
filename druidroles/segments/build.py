"""Building segments: input files to one Parquet file per bucket of the segment granularity.

The work is DuckDB's, in SQL over whole columns, in a database file in the work directory so that memory stays bounded.
Three steps: read the text as it is and find each row's time; convert the columns, marking rows in which a number could
not be read; write the rows of each bucket, sorted by time and dimensions as Druid sorts them.

All of it is synchronous: call it in a thread or a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import duckdb

from druidroles.model.granularity import Granularity
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.segments.errors import InputError, SpecError
from druidroles.segments.format import BINARY_VERSION, write_options
from druidroles.segments.numbers import text_as_double, text_as_long
from druidroles.segments.spec import Dimension, IngestionSpec, Metric

SEGMENTS_MAX = 50_000  # of one task


@attrs.frozen
class RowStats:
    """How many rows went which way (Druid's RowIngestionMeters). A row counts once: as processed, or with an error."""

    processed: int = 0
    processed_bytes: int = 0
    processed_with_error: int = 0
    thrown_away: int = 0
    unparseable: int = 0

    def to_json(self) -> dict[str, int]:
        """As a task report has it."""
        return {
            "processed": self.processed,
            "processedBytes": self.processed_bytes,
            "processedWithError": self.processed_with_error,
            "thrownAway": self.thrown_away,
            "unparseable": self.unparseable,
        }


@attrs.frozen
class BuiltSegment:
    """A segment file that was built. `size` in bytes."""

    data_source: str
    interval: Interval
    partition_num: int
    partitions: int
    dimensions: tuple[str, ...]
    metrics: tuple[str, ...]
    path: Path
    rows: int
    size: int

    def segment(self, version: str) -> DataSegment:
        """Its description, still without a load spec: whoever pushes it adds that."""
        return DataSegment(
            self.data_source,
            self.interval,
            version,
            dimensions=self.dimensions,
            metrics=self.metrics,
            shard_spec=numbered(self.partition_num, self.partitions),
            binary_version=BINARY_VERSION,
            size=self.size,
        )


@attrs.frozen
class BuildResult:
    """What was built, in order of time, and what became of the rows."""

    segments: tuple[BuiltSegment, ...]
    stats: RowStats


def build_segments(spec: IngestionSpec, work_dir: Path, *, threads: int = 2, memory_limit: str = "1GB") -> BuildResult:
    """Read the input and write the segment files into `work_dir`, which must exist and be empty.

    Raises InputError where the input cannot be read, SpecError where it does not fit the spec.
    """
    files = spec.input_source.files(work_dir)
    connection = duckdb.connect(
        str(work_dir / "build.duckdb"),
        config={
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": str(work_dir / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    try:
        # Times without an offset are UTC, as in Druid.
        connection.execute("SET TimeZone = 'UTC'")
        return _Build(connection, spec, work_dir, files).run()
    except duckdb.IOException as fault:
        raise InputError(f"the input cannot be read: {fault}") from fault
    except duckdb.InvalidInputException as fault:
        raise InputError(f"the input is not what inputFormat says: {fault}") from fault
    finally:
        connection.close()
        (work_dir / "build.duckdb").unlink(missing_ok=True)


def quoted(name: str) -> str:
    """A name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


class _Build:
    def __init__(
        self, connection: duckdb.DuckDBPyConnection, spec: IngestionSpec, work_dir: Path, files: Sequence[Path]
    ) -> None:
        self._connection = connection
        self._spec = spec
        self._work_dir = work_dir
        self._files = files
        self._dimensions = spec.dimensions

    def run(self) -> BuildResult:
        self._read()
        stats = self._convert()
        return BuildResult(tuple(self._write()), stats)

    def _execute(self, text: str, **values: Any) -> list[Any]:
        rows: list[Any] = self._connection.execute(text, values).fetchall()
        return rows

    def _read(self) -> None:
        """The text as it is, with the row's time, into a table. Lines that are no rows are counted in reject_errors."""
        spec, form = self._spec, self._spec.input_format
        options = "delim = $delimiter, skip = $skip, quote = '\"', escape = '\"', all_varchar = true"
        values: dict[str, Any] = {
            "files": [str(path) for path in self._files],
            "delimiter": form.delimiter,
            "skip": form.skip_lines,
        }
        if form.columns:
            options += f", auto_detect = false, header = {form.has_header}, columns = $columns"
            values["columns"] = dict.fromkeys(form.columns, "VARCHAR")
        else:
            options += ", header = true, union_by_name = true"
        source = f"read_csv($files, {options}, ignore_errors = true, store_rejects = true, rejects_limit = 0)"
        columns = [str(row[0]) for row in self._execute(f"DESCRIBE SELECT * FROM {source}", **values)]
        if spec.time_column not in columns and spec.time_missing is None:
            raise SpecError(f"timestampSpec.column: the input has no column {spec.time_column!r}")
        self._dimensions = spec.dimensions or self._all_columns(columns)
        self._columns = set(columns)
        self._execute(
            f"CREATE TABLE input AS SELECT *, {self._time_sql()} AS __time FROM {source}",
            **values,
            **({} if spec.time_missing is None else {"missing": spec.time_missing}),
        )

    def _all_columns(self, columns: Sequence[str]) -> tuple[Dimension, ...]:
        taken = self._spec.exclusions | {self._spec.time_column} | {metric.name for metric in self._spec.metrics}
        taken |= {metric.field for metric in self._spec.metrics if metric.field is not None}
        return tuple(Dimension(name) for name in columns if name not in taken)

    def _time_sql(self) -> str:
        spec = self._spec
        text = self._text(spec.time_column)
        if spec.time_missing is not None:
            text = f"coalesce({text}, $missing)"
        whole = f"CASE WHEN regexp_full_match({text}, '-?[0-9]+') THEN TRY_CAST({text} AS BIGINT)"
        instant = f"epoch_ms(TRY_CAST({text} AS TIMESTAMPTZ))"
        match spec.time_format:
            case "millis":
                return f"{whole} END"
            case "posix":
                return f"{whole} * 1000 END"
            case "iso":
                return instant
        return f"{whole} ELSE {instant} END"

    def _text(self, name: str) -> str:
        return quoted(name) if name in self._columns else "CAST(NULL AS VARCHAR)"

    def _convert(self) -> RowStats:
        """Typed columns into a table, rows without time or outside the intervals left out; what became of each row."""
        metrics = [metric for metric in self._spec.metrics if metric.field is not None]
        typed = [(item.name, self._text(item.name), item.type) for item in self._dimensions]
        typed += [(f"metric:{item.name}", self._text(item.field or ""), item.type) for item in metrics]
        converted = [(name, text, _convert_sql(text, kind)) for name, text, kind in typed]
        faults = [f"({text} IS NOT NULL AND {sql} IS NULL)" for _, text, sql in converted if sql != text]
        outputs = "".join(f", {sql} AS {quoted(name)}" for name, _, sql in converted)
        starts = [interval.start_ms for interval in self._spec.intervals]
        ends = [interval.end_ms for interval in self._spec.intervals]
        inside = "len(list_filter(list_zip($starts, $ends), lambda i: __time >= i[1] AND __time < i[2])) > 0"
        within = inside if starts else "TRUE"
        bounds = {"starts": starts, "ends": ends} if starts else {}
        self._execute(
            f"CREATE TABLE typed AS SELECT __time{outputs}, {' OR '.join(faults) or 'FALSE'} AS has_fault "
            f"FROM input WHERE __time IS NOT NULL AND {within}",
            **bounds,
        )
        ((rows, untimed),) = self._execute("SELECT count(*), count(*) FILTER (WHERE __time IS NULL) FROM input")
        ((kept, faulty),) = self._execute("SELECT count(*), count(*) FILTER (WHERE has_fault) FROM typed")
        ((rejected,),) = self._execute("SELECT count(*) FROM (SELECT DISTINCT file_id, line FROM reject_errors)")
        self._execute("DROP TABLE input")
        return RowStats(
            processed=kept - faulty,
            processed_bytes=sum(path.stat().st_size for path in self._files),
            processed_with_error=faulty,
            thrown_away=rows - untimed - kept,
            unparseable=untimed + rejected,
        )

    def _write(self) -> list[BuiltSegment]:
        buckets = self._place()
        dimensions = [item.name for item in self._dimensions]
        order = ", ".join(["__time", *(quoted(name) for name in dimensions)])
        names = ", ".join(["__time", *(quoted(name) for name in dimensions), *self._metric_outputs()])
        group = f"GROUP BY {order}" if self._spec.rollup and self._spec.metrics else ""
        built = []
        for interval in buckets:
            table = f"SELECT {names} FROM placed WHERE bucket_start = $start {group} ORDER BY {order}"
            self._execute(f"CREATE OR REPLACE TEMP TABLE bucket AS {table}", start=interval.start_ms)
            built += self._write_bucket(interval)
        return built

    def _place(self) -> list[Interval]:
        """Give each row its bucket and cut its time to the query granularity; the buckets that have rows, in order."""
        ((first, last),) = self._execute("SELECT min(__time), max(__time) FROM typed")
        if first is None:
            return []
        data = Interval(first, last + 1)
        segments = _bucket_list(data, self._spec.segment_granularity)
        time, join, values = "__time", "", {"starts": [item.start_ms for item in segments]}
        if self._spec.query_granularity.bucket(0).duration_ms > 1:
            cuts = _bucket_list(data, self._spec.query_granularity, most=10_000_000)
            values["cuts"] = [max(item.start_ms, segments[0].start_ms) for item in cuts]
            time = "cut"
            join = "ASOF JOIN (SELECT unnest($cuts::BIGINT[]) AS cut) AS cuts ON typed.__time >= cut"
        self._execute(
            f"CREATE TABLE placed AS SELECT greatest({time}, bucket_start) AS __time, "
            f"typed.* EXCLUDE (__time), bucket_start FROM typed {join} "
            "ASOF JOIN (SELECT unnest($starts::BIGINT[]) AS bucket_start) AS buckets ON typed.__time >= bucket_start "
            "ORDER BY bucket_start",
            **values,
        )
        self._execute("DROP TABLE typed")
        present = {row[0] for row in self._execute("SELECT DISTINCT bucket_start FROM placed")}
        return [item for item in segments if item.start_ms in present]

    def _metric_outputs(self) -> list[str]:
        return [f"{_metric_sql(metric, self._spec.rollup)} AS {quoted(metric.name)}" for metric in self._spec.metrics]

    def _write_bucket(self, interval: Interval) -> list[BuiltSegment]:
        ((rows,),) = self._execute("SELECT count(*) FROM bucket")
        size = self._spec.rows_per_segment
        partitions = max(1, -(-rows // size))
        return [self._write_file(interval, number, partitions, size, rows) for number in range(partitions)]

    def _write_file(self, interval: Interval, number: int, partitions: int, size: int, rows: int) -> BuiltSegment:
        path = self._work_dir / f"{interval.start_ms}_{number}.parquet"
        self._execute(
            f"COPY (SELECT * FROM bucket LIMIT $most OFFSET $offset) TO $path ({write_options()})",
            most=size,
            offset=number * size,
            path=str(path),
        )
        return BuiltSegment(
            data_source=self._spec.data_source,
            interval=interval,
            partition_num=number,
            partitions=partitions,
            dimensions=tuple(item.name for item in self._dimensions),
            metrics=tuple(item.name for item in self._spec.metrics),
            path=path,
            rows=min(size, rows - number * size),
            size=path.stat().st_size,
        )


def _convert_sql(text: str, kind: str) -> str:
    match kind:
        case "BIGINT":
            return text_as_long(text)
        case "DOUBLE":
            return text_as_double(text)
    return text


def _metric_sql(metric: Metric, rollup: bool) -> str:
    if metric.kind == "count":
        return "count(*)" if rollup else "CAST(1 AS BIGINT)"
    value = quoted(f"metric:{metric.name}")
    function = metric.kind[-3:].lower()
    return f"CAST({function}({value}) AS {metric.type})" if rollup else value


def _bucket_list(data: Interval, granularity: Granularity, most: int = SEGMENTS_MAX) -> list[Interval]:
    buckets: list[Interval] = []
    for bucket in granularity.buckets(data):
        if len(buckets) >= most:
            raise SpecError(f"the granularity {granularity.to_json()} makes more than {most} buckets of {data}")
        buckets.append(bucket)
    return buckets


__all__ = ["BuildResult", "BuiltSegment", "RowStats", "build_segments"]
