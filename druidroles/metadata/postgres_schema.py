"""The tables in PostgreSQL: those of `schema`, with Druid's types for it (PostgreSQLConnector).

Tables of ours have columns with collation C. Tables that Druid made have the database's collation: the statements name
C where order matters (sql.py), and an index of ours serves the scan over the ids in that order.
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg

from druidroles.metadata.errors import MetadataError
from druidroles.metadata.schema import FORMAT_VERSION, TABLES

log = logging.getLogger(__name__)

_LOCK = 0x636F_6F72_6401  # of the advisory lock under which the tables are made: "coord", 1

_TYPES = (
    ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGSERIAL PRIMARY KEY"),
    ("BLOB", "BYTEA"),
    ("VARCHAR(255)", 'VARCHAR(255) COLLATE "C"'),
    ("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "),
    ("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS "),
)

_FORMAT_TABLE = "CREATE TABLE IF NOT EXISTS coord_format (version INTEGER NOT NULL)"

# Whether the ids are of another collation than C, so that their own index does not have the order of the scan.
_OTHER_COLLATION = """
    SELECT l.collname FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation l ON l.oid = a.attcollation
    WHERE c.relname = 'druid_segments' AND a.attname = 'id' AND pg_table_is_visible(c.oid)
    AND l.collname NOT IN ('C', 'POSIX', 'ucs_basic')
"""
_INDEX = 'CREATE INDEX IF NOT EXISTS idx_coord_segments_id ON druid_segments (id COLLATE "C") WHERE used = TRUE'


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

    Raises MetadataError if the format is newer than ours.
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
        _index_ids(connection, name)


def _index_ids(connection: psycopg.Connection[Any], name: str) -> None:
    if connection.execute(_OTHER_COLLATION).fetchone() is None:
        return
    try:
        with connection.transaction():
            connection.execute(_INDEX)
    except psycopg.errors.InsufficientPrivilege as error:
        log.warning(
            "metadata store %s: reading the used segments is slower without this index: %s; %s", name, _INDEX, error
        )
