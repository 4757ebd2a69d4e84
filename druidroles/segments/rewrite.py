"""Rewriting segments: the rows of segment files, as far as they are visible, into new files (compaction).

It is a build like any other, only that its rows come typed out of Parquet files instead of text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import duckdb

from druidroles.model.granularity import Granularity
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.segments.build import BuildResult, RowStats, SegmentBuild, build_database, quoted
from druidroles.segments.compaction import CompactionSpec
from druidroles.segments.format import columns_of, exactly
from druidroles.segments.inputs import InlineSource, InputFormat
from druidroles.segments.spec import Dimension, IngestionSpec, Metric

_KEPT = {"BIGINT": "longSum", "DOUBLE": "doubleSum"}  # how a metric that is kept as it is counts to the build
_NO_INPUT = InputFormat(",", ("__time",), 0, False)


@attrs.frozen
class Piece:
    """A segment with its file, and the part of it that shows."""

    segment: DataSegment
    path: Path
    interval: Interval


def rewrite_segments(
    spec: CompactionSpec, pieces: Sequence[Piece], work_dir: Path, *, threads: int = 2, memory_limit: str = "1GB"
) -> BuildResult:
    """Write what the pieces hold into new segment files in `work_dir`; each piece lies within the spec's interval.

    Blocks. Raises SegmentFileError where a file cannot be read, InputError where its rows cannot be written.
    """
    columns = {piece.path: columns_of(piece.path) for piece in pieces}
    whole = _whole_spec(spec, pieces, columns)
    with build_database(work_dir, columns, threads, memory_limit) as connection:
        return _Rewrite(connection, whole, work_dir, pieces, columns, spec.segment_granularity is None).run()


def _whole_spec(
    spec: CompactionSpec, pieces: Sequence[Piece], columns: Mapping[Path, Mapping[str, str]]
) -> IngestionSpec:
    """The spec with every column named: those given, else those of the segments, the newest segment's first."""
    newest = sorted(pieces, key=lambda piece: (piece.interval.start_ms, piece.segment.version), reverse=True)
    types: dict[str, str] = {}
    for piece in newest:
        types = {**columns[piece.path], **types}
    metrics = spec.metrics
    if metrics is None:
        names = dict.fromkeys(name for piece in newest for name in piece.segment.metrics)
        metrics = tuple(Metric(name, _KEPT[types[name]], name) for name in names if types.get(name) in _KEPT)
    dimensions = spec.dimensions
    if not dimensions:
        taken = {"__time", *(metric.name for metric in metrics)}
        found = dict.fromkeys(name for piece in newest for name in piece.segment.dimensions)
        dimensions = tuple(Dimension(name, types.get(name, "VARCHAR")) for name in found if name not in taken)
    return IngestionSpec(
        data_source=spec.data_source,
        time_column="__time",
        time_format="millis",
        time_missing=None,
        dimensions=dimensions,
        exclusions=frozenset(),
        metrics=metrics,
        segment_granularity=spec.segment_granularity or Granularity.parse("all"),
        query_granularity=spec.query_granularity,
        rollup=spec.rollup,
        intervals=(spec.interval,),
        input_source=InlineSource(""),
        input_format=_NO_INPUT,
        rows_per_segment=spec.rows_per_segment,
        append=False,
    )


class _Rewrite(SegmentBuild):
    """One rewriting."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        spec: IngestionSpec,
        work_dir: Path,
        pieces: Sequence[Piece],
        columns: Mapping[Path, Mapping[str, str]],
        keeps_chunks: bool,
    ) -> None:
        super().__init__(connection, spec, work_dir, [piece.path for piece in pieces])
        self._pieces = pieces
        self._columns = columns
        self._keeps_chunks = keeps_chunks

    def run(self) -> BuildResult:
        rows = self._gather()
        size = sum(path.stat().st_size for path in self._files)
        return BuildResult(tuple(self._write()), RowStats(processed=rows, processed_bytes=size))

    def _gather(self) -> int:
        """All rows into the table `typed`; how many."""
        wanted = [(f"d{n}", item.name, item.type) for n, item in enumerate(self._dimensions)]
        wanted += [(f"m{n}", str(metric.field), metric.type) for n, metric in enumerate(self._measured)]
        names = "".join(f", {name} {kind}" for name, _, kind in wanted)
        self._execute(f"CREATE TABLE typed (__time BIGINT{names})")
        for piece in self._pieces:
            there = self._columns[piece.path]
            outputs = "".join(
                f", TRY_CAST({quoted(source)} AS {kind})" if source in there else f", CAST(NULL AS {kind})"
                for _, source, kind in wanted
            )
            self._execute(
                f"INSERT INTO typed SELECT __time{outputs} FROM read_parquet($path, hive_partitioning = false) "
                "WHERE __time >= $start AND __time < $end",
                path=exactly(piece.path),
                start=piece.interval.start_ms,
                end=piece.interval.end_ms,
            )
        ((rows,),) = self._execute("SELECT count(*) FROM typed")
        return int(rows)

    def _chunks(self, hours: Iterable[int]) -> list[Interval]:
        return kept_chunks(self._pieces) if self._keeps_chunks else super()._chunks(hours)


def kept_chunks(pieces: Iterable[Piece]) -> list[Interval]:
    """The time chunks that the pieces have, overlapping ones made one, in order."""
    chunks: list[Interval] = []
    for interval in sorted({piece.interval for piece in pieces}):
        if chunks and interval.start_ms < chunks[-1].end_ms:
            chunks[-1] = Interval(chunks[-1].start_ms, max(chunks[-1].end_ms, interval.end_ms))
        else:
            chunks.append(interval)
    return chunks
