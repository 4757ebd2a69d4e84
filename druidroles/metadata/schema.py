"""The tables, with Druid's names, columns and types as SQLMetadataConnector creates them (versions 28 and newer).

`user_version` is the format of the file. Adding a table or column raises it; a file of a newer format is refused.
"""

from __future__ import annotations

import sqlite3

from druidroles.metadata.errors import MetadataError

FORMAT_VERSION = 1

TABLES = (
    """CREATE TABLE druid_segments (
        id VARCHAR(255) NOT NULL PRIMARY KEY,
        dataSource VARCHAR(255) NOT NULL,
        created_date VARCHAR(255) NOT NULL,
        start VARCHAR(255) NOT NULL,
        "end" VARCHAR(255) NOT NULL,
        partitioned BOOLEAN NOT NULL,
        version VARCHAR(255) NOT NULL,
        used BOOLEAN NOT NULL,
        payload BLOB NOT NULL,
        used_status_last_updated VARCHAR(255) NOT NULL)""",
    "CREATE INDEX idx_druid_segments_used ON druid_segments(used)",
    'CREATE INDEX idx_druid_segments_datasource_used_end_start ON druid_segments(dataSource, used, "end", start)',
    """CREATE TABLE druid_pendingSegments (
        id VARCHAR(255) NOT NULL PRIMARY KEY,
        dataSource VARCHAR(255) NOT NULL,
        created_date VARCHAR(255) NOT NULL,
        start VARCHAR(255) NOT NULL,
        "end" VARCHAR(255) NOT NULL,
        sequence_name VARCHAR(255) NOT NULL,
        sequence_prev_id VARCHAR(255) NOT NULL,
        sequence_name_prev_id_sha1 VARCHAR(255) NOT NULL UNIQUE,
        payload BLOB NOT NULL)""",
    """CREATE TABLE druid_dataSource (
        dataSource VARCHAR(255) NOT NULL PRIMARY KEY,
        created_date VARCHAR(255) NOT NULL,
        commit_metadata_payload BLOB NOT NULL,
        commit_metadata_sha1 VARCHAR(255) NOT NULL UNIQUE)""",
    """CREATE TABLE druid_rules (
        id VARCHAR(255) NOT NULL PRIMARY KEY,
        dataSource VARCHAR(255) NOT NULL,
        version VARCHAR(255) NOT NULL,
        payload BLOB NOT NULL)""",
    "CREATE INDEX idx_druid_rules_datasource ON druid_rules(dataSource)",
    """CREATE TABLE druid_config (
        name VARCHAR(255) NOT NULL PRIMARY KEY,
        payload BLOB NOT NULL)""",
    """CREATE TABLE druid_audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        audit_key VARCHAR(255) NOT NULL,
        type VARCHAR(255) NOT NULL,
        author VARCHAR(255) NOT NULL,
        comment VARCHAR(2048) NOT NULL,
        created_date VARCHAR(255) NOT NULL,
        payload BLOB NOT NULL)""",
    "CREATE INDEX idx_druid_audit_key_time ON druid_audit(audit_key, created_date)",
    """CREATE TABLE druid_tasks (
        id VARCHAR(255) NOT NULL PRIMARY KEY,
        created_date VARCHAR(255) NOT NULL,
        datasource VARCHAR(255) NOT NULL,
        payload BLOB NOT NULL,
        status_payload BLOB NOT NULL,
        active BOOLEAN NOT NULL DEFAULT FALSE,
        type VARCHAR(255) NOT NULL,
        group_id VARCHAR(255) NOT NULL)""",
    "CREATE INDEX idx_druid_tasks_active_created_date ON druid_tasks(active, created_date)",
    """CREATE TABLE druid_tasklocks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task_id VARCHAR(255) NOT NULL,
        lock_payload BLOB NOT NULL)""",
    "CREATE INDEX idx_druid_tasklocks_task_id ON druid_tasklocks(task_id)",
    """CREATE TABLE coord_leaders (
        role VARCHAR(255) NOT NULL PRIMARY KEY,
        epoch BIGINT NOT NULL,
        holder VARCHAR(255) NOT NULL,
        raised_date VARCHAR(255) NOT NULL)""",
    """CREATE TABLE coord_task_attempts (
        task_id VARCHAR(255) NOT NULL PRIMARY KEY,
        attempt INTEGER NOT NULL,
        worker VARCHAR(255) NOT NULL,
        begun_date VARCHAR(255) NOT NULL)""",
)


def ensure_schema(connection: sqlite3.Connection, name: str) -> None:
    """Create the tables in a new file; `name` is the file's, for the error.

    Raises MetadataError if the format is newer than ours.
    """
    with connection:
        # Two processes may open a new file at once: the version is read under the write lock.
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT_VERSION:
            raise MetadataError(
                f"metadata store {name} has format {version}, this program knows up to {FORMAT_VERSION}"
            )
        if version == FORMAT_VERSION:
            return
        for statement in TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
