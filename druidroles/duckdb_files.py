"""What DuckDB may touch: the files that it is given, and no network.

Each statement of ours names its files itself, and no text of a query or a spec becomes SQL. The limit stands behind
that, so that a fault in one of them reaches no other file.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

import duckdb

CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""How each connection of ours is opened: DuckDB fetches no code."""


def allow_only(
    connection: duckdb.DuckDBPyConnection, *, directories: Iterable[Path] = (), files: Iterable[Path] = ()
) -> None:
    """Shut a database but for what lies in `directories` and `files`; nothing opens it again."""
    connection.execute(f"SET allowed_directories = {_listed(directories)}")
    connection.execute(f"SET allowed_paths = {_listed(files)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _listed(paths: Iterable[Path]) -> str:
    """As a list in SQL. DuckDB follows symbolic links before it judges, but takes patterns as they are written."""
    plain = [str(form) for path in paths for form in (path.absolute(), path.resolve())]
    names = dict.fromkeys(name for one in plain for name in (one, glob.escape(one)))
    quoted = ("'" + name.replace("'", "''") + "'" for name in names)
    return f"[{', '.join(quoted)}]"
