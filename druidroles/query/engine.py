"""Running a query over segment files with DuckDB.

Everything here is synchronous and belongs in a thread. An engine is one in-memory DuckDB instance per process, so that
its threads, its memory limit and its cache of file footers are shared; each query has a connection of its own, which is
what makes it possible to interrupt one and no other.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import duckdb

from druidroles.duckdb_files import CLOSED, allow_only
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso
from druidroles.query.errors import QueryCancelledError, QueryFailedError, ResourceLimitError, UnsupportedQueryError
from druidroles.query.model import AggregateQuery, Query, ScanQuery, TimeBoundaryQuery, TimeseriesQuery
from druidroles.query.relation import Piece, Relation, Schema
from druidroles.query.rows import aggregate_results
from druidroles.query.scan import scan
from druidroles.query.sql import (
    Statement,
    aggregate_statement,
    bucket_starts,
    extent_statement,
    is_uniform,
)
from druidroles.query.sqltext import Parameters, parquet

RESULT_ROWS_MAX = 250_000  # of one query on one server: what is gathered in memory before it is sent
_ROWS_AT_ONCE = 1000
_SCHEMAS_MAX = 100_000
_TYPES = {"BIGINT": "BIGINT", "DOUBLE": "DOUBLE", "VARCHAR": "VARCHAR", "INTEGER": "BIGINT", "FLOAT": "DOUBLE"}


class PiecesGoneError(FileNotFoundError):
    """Files of segments that were found to be served are not there any more."""

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        super().__init__(f"{len(pieces)} segment files are gone, among them {pieces[0].path}")
        self.pieces = pieces


class _Columns(dict[str, str]):
    """A schema that can be referred to weakly."""


class Engine:
    """A DuckDB instance for queries. Thread-safe; close it at the end."""

    def __init__(
        self,
        temp_dir: Path,
        *,
        directories: Sequence[Path] | None = None,
        threads: int = 2,
        memory_limit: str = "1GB",
    ) -> None:
        """`temp_dir` takes what does not fit into `memory_limit`; DuckDB makes it when needed. It reads files in
        `directories` alone; None: any.
        """
        self._database = duckdb.connect(
            ":memory:",
            config={
                "threads": threads,
                "memory_limit": memory_limit,
                "temp_directory": str(temp_dir),
                **CLOSED,
            },
        )
        if directories is not None:
            allow_only(self._database, directories=directories)
        self._lock = threading.Lock()
        self._running = 0
        self._closed = False
        self._schemas: OrderedDict[Path, Schema] = OrderedDict()
        self._interned: WeakValueDictionary[tuple[tuple[str, str], ...], _Columns] = WeakValueDictionary()

    def start(self, query: Query, pieces: Sequence[Piece]) -> Execution:
        """A query that is ready to run. May be called from any thread; does not block."""
        with self._lock:
            if self._closed:
                raise QueryCancelledError
            return Execution(self, self._database.cursor(), query, pieces)

    def close(self) -> None:
        """Give everything back, as soon as nothing runs any more; whoever calls this interrupts what does."""
        with self._lock:
            self._closed = True
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        # DuckDB refuses to close what is at work.
        if self._closed and not self._running:
            self._database.close()

    def _begin(self) -> None:
        with self._lock:
            if self._closed:
                raise QueryCancelledError
            self._running += 1

    def _end(self) -> None:
        with self._lock:
            self._running -= 1
            self._close_if_idle()

    def schema(self, connection: duckdb.DuckDBPyConnection, path: Path) -> Schema:
        """The columns of a segment file and their types, remembered: a segment never changes."""
        with self._lock:
            known = self._schemas.get(path)
        if known is not None:
            return known
        parameters = Parameters()
        text = f"DESCRIBE SELECT * FROM {parquet([path], parameters)}"
        rows = connection.execute(text, parameters.values).fetchall()
        key = tuple((str(row[0]), _TYPES.get(str(row[1]), "VARCHAR")) for row in rows)
        with self._lock:
            # One object for equal schemas, so that files can be told to have the same one by identity.
            schema = self._interned.setdefault(key, _Columns(key))
            self._schemas[path] = schema
            while len(self._schemas) > _SCHEMAS_MAX:
                self._schemas.popitem(last=False)
        return schema

    def forget(self, path: Path) -> None:
        """A segment file is gone; another may come to lie there."""
        with self._lock:
            self._schemas.pop(path, None)


class Execution:
    """One run of a query: `run` in a thread, once; `interrupt` from anywhere."""

    def __init__(
        self, engine: Engine, connection: duckdb.DuckDBPyConnection, query: Query, pieces: Sequence[Piece]
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._query = query
        self._pieces = pieces
        self._lock = threading.Lock()
        self._open = True
        self._interrupted = False
        self.running = False

    def interrupt(self) -> None:
        """End it soon: `run` raises QueryCancelledError, unless it is about to return anyway.

        DuckDB forgets an interrupt that arrives between two statements, so call it again while `running`.
        """
        self._interrupted = True
        with self._lock:
            if self._open:
                self._connection.interrupt()

    def run(self) -> list[dict[str, Any]]:
        """The result over these pieces, in Druid's shape, to be merged with that of others.

        Raises QueryError; PiecesGoneError where segments' files are not there (any more).
        """
        self._engine._begin()
        self.running = True
        try:
            return self._run()
        except duckdb.InterruptException:
            raise QueryCancelledError from None
        except duckdb.OutOfMemoryException as fault:
            raise ResourceLimitError(f"the query needs more memory than it may have: {fault}") from None
        except duckdb.Error as fault:
            if self._interrupted:
                raise QueryCancelledError from None
            gone = tuple(piece for piece in self._pieces if not piece.path.exists())
            for piece in gone:
                self._engine.forget(piece.path)
            if gone:
                raise PiecesGoneError(gone) from fault
            raise QueryFailedError(f"the query failed: {fault}", error_class=type(fault).__name__) from fault
        finally:
            with self._lock:
                self._open = False
                self._connection.close()
            self._engine._end()
            self.running = False

    def _run(self) -> list[dict[str, Any]]:
        self._stop_if_interrupted()
        if not self._pieces:
            return []
        schemas = {piece.path: self._engine.schema(self._connection, piece.path) for piece in self._pieces}
        relation = Relation(self._pieces, schemas)
        match self._query:
            case ScanQuery():
                return scan(self._query, relation, self.fetch)
            case TimeBoundaryQuery():
                return self._time_boundary(self._query, relation)
            case AggregateQuery():
                return self._aggregate(self._query, relation)
        raise UnsupportedQueryError(f"{type(self._query).__name__} cannot be run")

    def fetch(self, statement: Statement, rows_max: int = RESULT_ROWS_MAX) -> list[Any]:
        """All rows of a statement; ResourceLimitError if there are more than `rows_max`."""
        self._stop_if_interrupted()
        cursor = self._connection.execute(statement.text, statement.parameters.values)
        rows: list[Any] = []
        # Some at a time, for the event loop cannot run while DuckDB makes Python objects.
        while more := cursor.fetchmany(_ROWS_AT_ONCE):
            self._stop_if_interrupted()
            rows += more
            if len(rows) > rows_max:
                raise ResourceLimitError(
                    f"the query makes more than {rows_max} rows on one server; narrow it or limit it"
                )
        return rows

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            raise QueryCancelledError

    def _aggregate(self, query: AggregateQuery, relation: Relation) -> list[dict[str, Any]]:
        extent = None
        fills = isinstance(query, TimeseriesQuery) and not query.skip_empty and not query.granularity.is_all
        if fills or not (query.granularity.is_all or is_uniform(query.granularity)):
            extent = self._extent(relation)
            if extent is None:
                return []
        rows = self.fetch(aggregate_statement(query, relation, extent))
        if fills and extent is not None:
            rows += self._edges(query, extent, {row[0] for row in rows})
        return aggregate_results(query, rows)

    def _extent(self, relation: Relation) -> Interval | None:
        ((first, last),) = self.fetch(extent_statement(relation, None))
        return None if first is None else Interval(first, last + 1)

    def _edges(self, query: AggregateQuery, extent: Interval, present: set[int]) -> list[Any]:
        """Empty rows for the first and last bucket with data, where the filter left none in it.

        They tell the one who merges from where to where empty buckets are filled: between the ends of the data.
        """
        ends = {query.granularity.bucket(ms).start_ms for ms in (extent.start_ms, extent.end_ms - 1)}
        return [(end, *(aggregator.empty for aggregator in query.aggregators)) for end in sorted(ends - present)]

    def _time_boundary(self, query: TimeBoundaryQuery, relation: Relation) -> list[dict[str, Any]]:
        ((first, last),) = self.fetch(extent_statement(relation, query.filter))
        if first is None:
            return []
        result = {"minTime": format_iso(first), "maxTime": format_iso(last)}
        if query.bound is not None:
            result = {query.bound: result[query.bound]}
        return [{"timestamp": next(iter(result.values())), "result": result}]


__all__ = ["Engine", "Execution", "bucket_starts"]
