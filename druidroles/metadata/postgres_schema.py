"""The tables in PostgreSQL: those of `schema`, with Druid's types for it (PostgreSQLConnector).

Text is compared byte by byte (collation C), which the intervals and ids rely on; other collations skip signs and
colons. A database whose tables compare otherwise, because Druid made them there, is refused with what to do about it.
"""

from __future__ import annotations

from typing import Any

import psycopg

from druidroles.metadata.errors import MetadataError
from druidroles.metadata.schema import FORMAT_VERSION, TABLES

_LOCK = 0x636F_6F72_6401  # of the advisory lock under which the tables are made: "coord", 1

_TYPES = (
    ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGSERIAL PRIMARY KEY"),
    ("BLOB", "BYTEA"),
    ("VARCHAR(255)", 'VARCHAR(255) COLLATE "C"'),
    ("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "),
    ("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS "),
)

_FORMAT_TABLE = "CREATE TABLE IF NOT EXISTS coord_format (version INTEGER NOT NULL)"

# Columns that are compared or ordered by, with a collation other than C. Names are folded to lower case here.
_OTHER_COLLATIONS = """
    SELECT c.relname, a.attname, l.collname FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation l ON l.oid = a.attcollation
    WHERE c.relname = 'druid_segments' AND a.attname IN ('id', 'start', 'end', 'version') AND pg_table_is_visible(c.oid)
    AND NOT (l.collname IN ('C', 'POSIX', 'ucs_basic') OR (l.collname = 'default' AND
        (SELECT datlocprovider = 'c' AND datcollate IN ('C', 'POSIX') FROM pg_database
         WHERE datname = current_database())))
    ORDER BY a.attnum
"""


def statements() -> list[Any]:
    """What makes the tables, where they are not there. (psycopg asks for LiteralStrings, which these are not.)"""
    found = []
    for statement in TABLES:
        for ours, theirs in _TYPES:
            statement = statement.replace(ours, theirs)
        found.append(statement)
    return found


def ensure_schema(connection: psycopg.Connection[Any], name: str) -> None:
    """Make the tables in a transaction of their own; `name` is the database's, for the error.

    Raises MetadataError if the format is newer than ours, or text is compared in a way that misleads.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(_FORMAT_TABLE)
        row = connection.execute("SELECT max(version) FROM coord_format").fetchone()
        version = 0 if row is None or row[0] is None else row[0]
        if version > FORMAT_VERSION:
            raise MetadataError(
                f"metadata store {name} has format {version}, this program knows up to {FORMAT_VERSION}"
            )
        if version < FORMAT_VERSION:
            for statement in statements():
                connection.execute(statement)
            connection.execute("INSERT INTO coord_format (version) VALUES (%s)", (FORMAT_VERSION,))
        _check_collations(connection, name)


def _check_collations(connection: psycopg.Connection[Any], name: str) -> None:
    wrong = connection.execute(_OTHER_COLLATIONS).fetchall()
    if wrong:
        changes = ", ".join(f'ALTER COLUMN "{column}" TYPE VARCHAR(255) COLLATE "C"' for _, column, _ in wrong)
        raise MetadataError(
            f"metadata store {name} compares text by collation {wrong[0][2]!r}, which misorders intervals; "
            f"it needs: ALTER TABLE {wrong[0][0]} {changes}"
        )
