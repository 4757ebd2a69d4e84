"""Building segments: input files to one Parquet file per bucket of the segment granularity.

The work is DuckDB's, in SQL over whole columns, in a database file in the work directory so that memory stays bounded.
Three steps: read the text as it is and find each row's time; convert the columns, marking rows in which a number could
not be read; write the rows of each bucket, sorted by time and dimensions as Druid sorts them.

All of it is synchronous: call it in a thread or a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import duckdb

from druidroles.duckdb_files import CLOSED, allow_only
from druidroles.model.granularity import Granularity
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.segments.errors import InputError, SpecError
from druidroles.segments.format import BINARY_VERSION, exactly, write_options
from druidroles.segments.headers import Columns, files_by_columns
from druidroles.segments.numbers import text_as_double, text_as_long
from druidroles.segments.spec import Dimension, IngestionSpec, Metric, check_names
from druidroles.segments.times import parse_times, time_sql

SEGMENTS_MAX = 50_000  # of one task
_BUCKETS_MAX = 5_000_000
_HOUR_MS = 3_600_000
_TIMES_AT_ONCE = 10_000


@attrs.frozen
class RowStats:
    """How many rows went which way (Druid's RowIngestionMeters). A row counts once: as processed, or with an error."""

    processed: int = 0
    processed_bytes: int = 0
    processed_with_error: int = 0
    thrown_away: int = 0
    unparseable: int = 0

    def __add__(self, other: RowStats) -> RowStats:
        return RowStats(
            self.processed + other.processed,
            self.processed_bytes + other.processed_bytes,
            self.processed_with_error + other.processed_with_error,
            self.thrown_away + other.thrown_away,
            self.unparseable + other.unparseable,
        )

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


def build_segments(
    spec: IngestionSpec,
    work_dir: Path,
    *,
    input_dirs: Sequence[Path] | None = None,
    threads: int = 2,
    memory_limit: str = "1GB",
) -> BuildResult:
    """Read the input and write the segment files into `work_dir`, which must exist and be empty.

    Local input comes from `input_dirs` alone; None: from anywhere.

    Raises InputError where the input cannot be read, SpecError where it does not fit the spec.
    """
    files = spec.input_source.files(work_dir, input_dirs)
    with build_database(work_dir, files, threads, memory_limit) as connection:
        return SegmentBuild(connection, spec, work_dir, files).run()


@contextmanager
def build_database(
    work_dir: Path, files: Iterable[Path], threads: int, memory_limit: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database file for the time of one build, which reads `files`; what DuckDB cannot do becomes InputError."""
    connection = duckdb.connect(
        str(work_dir / "build.duckdb"),
        config={
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": str(work_dir / "spill"),
            **CLOSED,
        },
    )
    try:
        allow_only(connection, directories=[work_dir], files=files)
        yield connection
    except duckdb.Error as fault:
        raise InputError(f"the input cannot be made into segments: {fault}") from fault
    finally:
        connection.close()
        (work_dir / "build.duckdb").unlink(missing_ok=True)


def quoted(name: str) -> str:
    """A name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


class SegmentBuild:
    """One build. Tables name their columns by number (d0 the first dimension, m0 the first metric that has a field), so
    that no name of the input can meet one of ours, or another that differs from it by case alone.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, spec: IngestionSpec, work_dir: Path, files: Sequence[Path]
    ) -> None:
        self._connection = connection
        self._spec = spec
        self._work_dir = work_dir
        self._files = files
        self._dimensions = spec.dimensions
        self._measured = [metric for metric in spec.metrics if metric.field is not None]

    def run(self) -> BuildResult:
        rejected = self._read()
        stats = self._convert(rejected)
        return BuildResult(tuple(self._write()), stats)

    def _execute(self, text: str, **values: Any) -> list[Any]:
        rows: list[Any] = self._connection.execute(text, values).fetchall()
        return rows

    def _read(self) -> int:
        """The text of the columns that are wanted, with the row's time, into the table `input`. How many lines were no
        rows.
        """
        gathered = files_by_columns(self._files, self._spec.input_format)
        self._dimensions = self._spec.dimensions or self._all_columns(gathered)
        wanted = {f"d{n}": item.name for n, item in enumerate(self._dimensions)}
        wanted |= {f"m{n}": str(metric.field) for n, metric in enumerate(self._measured)}
        wanted["time_text"] = self._spec.time_column
        self._execute(f"CREATE TABLE input ({', '.join(f'{name} VARCHAR' for name in wanted)}, __time BIGINT)")
        if gathered and self._spec.time_missing is None and not any(self._spec.time_column in c for c in gathered):
            raise SpecError(f"timestampSpec.column: the input has no column {self._spec.time_column!r}")
        for columns, files in gathered.items():
            self._read_files(wanted, columns, files)
        self._read_other_times()
        if not gathered:
            return 0
        ((rejected,),) = self._execute("SELECT count(*) FROM (SELECT DISTINCT scan_id, file_id, line FROM lines)")
        return int(rejected)

    def _all_columns(self, gathered: Iterable[Columns]) -> tuple[Dimension, ...]:
        taken = self._spec.exclusions | {self._spec.time_column, "__time"}
        taken |= {metric.name for metric in self._spec.metrics} | {str(metric.field) for metric in self._measured}
        names = [name for name in dict.fromkeys(chain.from_iterable(gathered)) if name not in taken]
        check_names([*names, *(metric.name for metric in self._spec.metrics)])
        return tuple(Dimension(name) for name in names)

    def _read_files(self, wanted: Mapping[str, str], columns: Columns, files: Sequence[Path]) -> None:
        form, missing = self._spec.input_format, self._spec.time_missing
        places = {name: f"c{place}" for place, name in enumerate(columns)}
        texts = {name: places.get(source, "CAST(NULL AS VARCHAR)") for name, source in wanted.items()}
        if missing is not None:
            texts["time_text"] = f"coalesce({texts['time_text']}, $missing)"
        outputs = ", ".join([*texts.values(), time_sql(texts["time_text"], self._spec.time_format)])
        # Empty fields are null, quoted ones empty strings; a row may end early, as in Druid.
        self._execute(
            f"INSERT INTO input SELECT {outputs} FROM read_csv($files, auto_detect = false, columns = $columns, "
            "header = $header, skip = $skip, delim = $delimiter, quote = '\"', escape = '\"', nullstr = '', "
            "allow_quoted_nulls = false, null_padding = true, parallel = false, hive_partitioning = false, "
            "ignore_errors = true, store_rejects = true, rejects_limit = 0, rejects_table = 'lines')",
            files=[exactly(path) for path in files],
            columns=dict.fromkeys(places.values(), "VARCHAR"),
            header=form.has_header,
            skip=form.skip_lines,
            delimiter=form.delimiter,
            **({} if missing is None else {"missing": missing}),
        )

    def _read_other_times(self) -> None:
        """Times in forms that DuckDB was not asked to read."""
        self._execute("CREATE TABLE times (text VARCHAR, ms BIGINT)")
        left = self._connection.cursor()
        left.execute("SELECT DISTINCT time_text FROM input WHERE __time IS NULL AND time_text IS NOT NULL")
        while rows := left.fetchmany(_TIMES_AT_ONCE):
            found = parse_times((row[0] for row in rows), self._spec.time_format)
            self._execute(
                "INSERT INTO times SELECT unnest($texts::VARCHAR[]), unnest($times::BIGINT[])",
                texts=list(found),
                times=list(found.values()),
            )
        self._execute("UPDATE input SET __time = ms FROM times WHERE __time IS NULL AND time_text = text")

    def _convert(self, rejected: int) -> RowStats:
        """Typed columns into a table, rows without time or outside the intervals left out; what became of each row."""
        typed = [(f"d{n}", item.type) for n, item in enumerate(self._dimensions)]
        typed += [(f"m{n}", metric.type) for n, metric in enumerate(self._measured)]
        converted = [(name, _convert_sql(name, kind)) for name, kind in typed]
        faults = [f"({name} IS NOT NULL AND {sql} IS NULL)" for name, sql in converted if sql != name]
        outputs = "".join(f", {sql} AS {name}" for name, sql in converted)
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
        dimensions = [f"d{n}" for n in range(len(self._dimensions))]
        keys = ", ".join(["__time", *dimensions])
        order = ", ".join(f"{key} NULLS FIRST" for key in ["__time", *dimensions])
        outputs = [f"{key} AS {quoted(item.name)}" for key, item in zip(dimensions, self._dimensions, strict=True)]
        names = ", ".join(["__time", *outputs, *self._metric_outputs()])
        group = f"GROUP BY {keys}" if self._spec.rollup else ""
        built = []
        for interval in buckets:
            table = f"SELECT {names} FROM placed WHERE bucket_start = $start {group} ORDER BY {order}"
            self._execute(f"CREATE OR REPLACE TEMP TABLE bucket AS {table}", start=interval.start_ms)
            built += self._write_bucket(interval)
        return built

    def _place(self) -> list[Interval]:
        """Give each row its bucket and cut its time to the query granularity; the buckets that have rows, in order."""
        # The remainder of SQL takes the sign of the dividend; before 1970 it needs the second one.
        within = f"((__time % {_HOUR_MS}) + {_HOUR_MS}) % {_HOUR_MS}"
        hours = [row[0] for row in self._execute(f"SELECT DISTINCT (__time - {within}) // {_HOUR_MS} FROM typed")]
        segments = self._chunks(hours)
        time, join, values = "__time", "", {"starts": [item.start_ms for item in segments]}
        if self._spec.query_granularity.bucket(0).duration_ms > 1:
            values["cuts"] = [item.start_ms for item in _buckets_of(hours, self._spec.query_granularity)]
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
        if len(present) > SEGMENTS_MAX:
            raise SpecError(
                f"segmentGranularity {self._spec.segment_granularity.to_json()} makes {len(present)} segments of the "
                f"data; the limit is {SEGMENTS_MAX}"
            )
        return [item for item in segments if item.start_ms in present]

    def _chunks(self, hours: Iterable[int]) -> list[Interval]:
        """The time chunks that may hold rows, in order, where rows lie in these hours since 1970."""
        return _buckets_of(hours, self._spec.segment_granularity)

    def _metric_outputs(self) -> list[str]:
        values = {metric.name: f"m{n}" for n, metric in enumerate(self._measured)}
        return [
            f"{_metric_sql(metric, values.get(metric.name), self._spec.rollup)} AS {quoted(metric.name)}"
            for metric in self._spec.metrics
        ]

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


def _metric_sql(metric: Metric, value: str | None, rollup: bool) -> str:
    if value is None:
        return "count(*)" if rollup else "CAST(1 AS BIGINT)"
    return f"CAST({metric.kind[-3:].lower()}({value}) AS {metric.type})" if rollup else value


def _buckets_of(hours: Iterable[int], granularity: Granularity) -> list[Interval]:
    """The buckets that may hold rows, in order, where rows lie in these hours since 1970."""
    if granularity.is_all:
        return [ETERNITY]
    buckets: list[Interval] = []
    for hour in sorted(hours):
        start = max(hour * _HOUR_MS, buckets[-1].end_ms if buckets else hour * _HOUR_MS)
        end = (hour + 1) * _HOUR_MS
        buckets += granularity.buckets(Interval(start, end)) if start < end else ()
        if len(buckets) > _BUCKETS_MAX:
            raise SpecError(f"the granularity {granularity.to_json()} makes too many buckets of the data")
    return buckets
