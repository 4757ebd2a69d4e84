"""Where the metadata store is: a file for SQLite, or a URL for PostgreSQL."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from druidroles.metadata.errors import MetadataError
from druidroles.metadata.sql_store import SqlMetadataStore
from druidroles.metadata.sqlite import open_sqlite_store

MetadataLocation = Path | str
"""A path, or a URL as `parse_metadata_location` gives it."""

_SCHEMES = ("postgresql://", "postgres://")
_JDBC = "jdbc:"


def parse_metadata_location(text: str) -> MetadataLocation:
    """A `postgresql://` URL, also in JDBC's spelling, or else a path. Raises ValueError for a URL of something else."""
    url = text.removeprefix(_JDBC)
    if url.startswith(_SCHEMES):
        return url
    if url != text or "://" in text:
        raise ValueError(f"{text.partition('@')[0]!r}: only a file of SQLite and postgresql:// are known")
    return Path(text)


def open_store(location: MetadataLocation) -> AbstractAsyncContextManager[SqlMetadataStore]:
    """Open the store that is there. Raises MetadataError."""
    if isinstance(location, Path):
        return open_sqlite_store(location)
    try:
        from druidroles.metadata.postgres import open_postgres_store
    except ImportError as missing:
        raise MetadataError(
            f"a metadata store in PostgreSQL needs psycopg (coordserver[postgres]): {missing}"
        ) from None
    return open_postgres_store(location)
