"""The segment file: a Parquet file with the column `__time` (BIGINT, milliseconds since 1970) and the others as LONG,
DOUBLE or string, sorted by time.

The format's version is in the file's own metadata; a file of a newer one is refused by name. In a DataSegment its
`binaryVersion` tells it from Druid's own format, which is 9.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import duckdb

from druidroles.duckdb_files import CLOSED
from druidroles.segments.errors import SegmentFileError

FORMAT_VERSION = 1
BINARY_VERSION = 101  # DataSegment.binaryVersion of our files; Druid's V9 is 9
_KEY = "druidroles.segment.format"
_MAGIC = b"PAR1"
_FILE = "read_parquet($path, hive_partitioning = false)"


def exactly(path: Path) -> str:
    """The pattern that only this file fits: DuckDB takes every name of a file to read as a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def write_options() -> str:
    """The options of DuckDB's COPY that make a segment file."""
    return f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{'{_KEY}': '{FORMAT_VERSION}'}}"


def check_segment_file(path: Path) -> int:
    """See that a file is a segment of a format known here; the number of its rows.

    Reads the footer only. Raises SegmentFileError, whose text names the file and says what is wrong. Blocks: call it in
    a thread.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as fault:
        raise SegmentFileError(f"the segment file {path} cannot be read: {fault.strerror}") from None
    if head != _MAGIC:
        raise SegmentFileError(f"{path} is not a Parquet file")
    connection = _database().cursor()
    try:
        rows = connection.execute(
            "SELECT decode(value) FROM parquet_kv_metadata($path) WHERE decode(key) = $key",
            {"path": exactly(path), "key": _KEY},
        ).fetchall()
        _check_version(path, [str(row[0]) for row in rows])
        kinds = {str(row[0]): str(row[1]) for row in _describe(connection, path)}
        if kinds.get("__time") != "BIGINT":
            raise SegmentFileError(f"{path} has no column __time of type BIGINT")
        counted = connection.execute(f"SELECT count(*) FROM {_FILE}", {"path": exactly(path)}).fetchone()
    except duckdb.Error as fault:
        raise SegmentFileError(f"the segment file {path} is damaged: {fault}") from None
    finally:
        connection.close()
    return int(counted[0]) if counted else 0


def columns_of(path: Path) -> dict[str, str]:
    """The columns of a segment file with DuckDB's names of their types; raises SegmentFileError. Blocks."""
    connection = _database().cursor()
    try:
        return {str(row[0]): str(row[1]) for row in _describe(connection, path)}
    except duckdb.Error as fault:
        raise SegmentFileError(f"the segment file {path} is damaged: {fault}") from None
    finally:
        connection.close()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    # One for the process, a cursor for each check: to open one takes several times as long as to read a footer.
    return duckdb.connect(":memory:", config={**CLOSED})


def _check_version(path: Path, versions: list[str]) -> None:
    if not versions:
        raise SegmentFileError(f"{path} is a Parquet file, but not a segment: it names no {_KEY}")
    if versions[0] != str(FORMAT_VERSION):
        raise SegmentFileError(f"{path} has segment format {versions[0]}; this version reads {FORMAT_VERSION}")


def _describe(connection: duckdb.DuckDBPyConnection, path: Path) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = connection.execute(
        f"DESCRIBE SELECT * FROM {_FILE}", {"path": exactly(path)}
    ).fetchall()
    return rows
