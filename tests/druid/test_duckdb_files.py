"""DuckDB reads what it was given: each database of ours × each way out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

import druidroles
from druidroles.query.engine import Engine
from druidroles.segments.build import build_database

WAYS_OUT = (
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM glob('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM read_text('{inside}/../secret.csv')",
    "SELECT * FROM read_text('{inside}/link.csv')",
    "SELECT * FROM read_text('http://127.0.0.1:9/x')",
    "COPY (SELECT 1) TO '{secret}.out'",
    "ATTACH '{secret}.db'",
    "EXPORT DATABASE '{secret}.export'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET temp_directory = '{secret}.tmp'",
)


@contextmanager
def engine(inside: Path, work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The one of queries."""
    made = Engine(work / "spill", directories=[inside])
    try:
        with made._database.cursor() as cursor:
            yield cursor
    finally:
        made.close()


@contextmanager
def build(inside: Path, work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The one of builds."""
    with build_database(work, list(inside.glob("*.csv")), 1, "100MB") as connection:
        yield connection


@pytest.fixture(params=["inside", "in'[1]*"])
def inside(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with a file of its own, beside a secret one."""
    directory = tmp_path / request.param
    directory.mkdir()
    (directory / "own.csv").write_text("a\n1\n")
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    (tmp_path / "work").mkdir()
    return directory


@pytest.mark.parametrize("database", [engine, build])
def test_nothing_leads_out(inside: Path, tmp_path: Path, database: object) -> None:
    with database(inside, tmp_path / "work") as connection:  # type: ignore[operator]
        quoted = str(inside).replace("'", "''")
        own = connection.execute("SELECT count(*) FROM read_csv($path)", {"path": _exactly(inside / "own.csv")})
        assert own.fetchall() == [(1,)]
        (inside / "link.csv").symlink_to(tmp_path / "secret.csv")
        for way in WAYS_OUT:
            statement = way.format(secret=tmp_path / "secret.csv", inside=quoted)
            with pytest.raises(duckdb.Error):
                print(statement, connection.execute(statement).fetchall())


def _exactly(path: Path) -> str:
    from druidroles.segments.format import exactly

    return exactly(path)


def test_every_database_is_opened_closed() -> None:
    """Each call of `connect` names CLOSED, and each but that of the check of a file is shut."""
    found = {}
    for module in Path(druidroles.__file__).parent.rglob("*.py"):
        text = module.read_text()
        if "duckdb.connect" in text:
            calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
            opened = [call for call in calls if ast.unparse(call.func) == "duckdb.connect"]
            assert all("**CLOSED" in ast.unparse(call) for call in opened), module
            found[module.stem] = any(ast.unparse(call.func) == "allow_only" for call in calls)
    assert found == {"engine": True, "build": True, "format": False}


def test_schemas_that_no_file_has_are_forgotten(tmp_path: Path) -> None:
    made = Engine(tmp_path / "spill")
    try:
        cursor = made._database.cursor()
        for number in range(20):
            path = tmp_path / f"{number}.parquet"
            cursor.execute(f"COPY (SELECT 1 AS c{number // 2}) TO '{path}' (FORMAT parquet)")
            made.schema(cursor, path)
        assert len(made._interned) == 10
        for number in range(20):
            made.forget(tmp_path / f"{number}.parquet")
        assert len(made._interned) == 0
    finally:
        made.close()
