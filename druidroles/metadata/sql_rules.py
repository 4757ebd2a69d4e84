"""The statements on `druid_rules`, `druid_config`, `druid_audit` and `coord_leaders`, inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from druidroles.metadata.errors import StaleEpochError
from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch
from druidroles.metadata.sql import Connection


def encode(value: Any) -> bytes:
    """A payload column: compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def raise_epoch(connection: Connection, leader: LeaderEpoch, holder: str, now: str) -> None:
    """Raise the held epoch to the leader's, by compare-and-swap. StaleEpochError if a higher one is held."""
    connection.execute(
        "INSERT INTO coord_leaders (role, epoch, holder, raised_date) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (role) DO UPDATE SET epoch = excluded.epoch, holder = excluded.holder,"
        " raised_date = excluded.raised_date WHERE excluded.epoch >= coord_leaders.epoch",
        (leader.role, leader.epoch, holder, now),
    )
    check_epoch(connection, leader)


def check_epoch(connection: Connection, leader: LeaderEpoch) -> None:
    """Raise StaleEpochError unless the store holds exactly this epoch.

    One lower than the caller's is refused too: it would be a leader that reads and writes before it raised its epoch.
    """
    row = connection.execute("SELECT epoch FROM coord_leaders WHERE role = ?", (leader.role,)).fetchone()
    held = None if row is None else int(row[0])
    if held != leader.epoch:
        raise StaleEpochError(leader.role, leader.epoch, held)


def epochs(connection: Connection) -> dict[str, int]:
    """Role to epoch."""
    return dict(connection.execute("SELECT role, epoch FROM coord_leaders ORDER BY role").fetchall())


def rules(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """The newest version of the rules of each datasource."""
    rows = connection.execute(
        "SELECT r.dataSource, r.payload FROM druid_rules r JOIN"
        " (SELECT dataSource, max(version) AS version FROM druid_rules GROUP BY dataSource) newest"
        " ON newest.dataSource = r.dataSource AND newest.version = r.version ORDER BY r.dataSource"
    )
    return {data_source: json.loads(payload) for data_source, payload in rows}


def set_rules(
    connection: Connection, data_source: str, new: Sequence[Mapping[str, Any]], audit: Audit, now: str
) -> None:
    """Add a version. Two within a millisecond are one: the id is made of the datasource and the time, as Druid does."""
    payload = encode(list(new))
    connection.execute(
        "INSERT INTO druid_rules (id, dataSource, version, payload) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET payload = excluded.payload",
        (f"{data_source}_{now}", data_source, now, payload),
    )
    _audit(connection, data_source, "rules", audit, now, payload)


def config(connection: Connection, name: str) -> Any | None:
    """A configuration's value."""
    row = connection.execute("SELECT payload FROM druid_config WHERE name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])


def set_config(connection: Connection, name: str, value: Any, audit: Audit, now: str) -> None:
    """Store a configuration and who changed it."""
    payload = encode(value)
    connection.execute(
        "INSERT INTO druid_config (name, payload) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET payload = excluded.payload",
        (name, payload),
    )
    _audit(connection, name, "config", audit, now, payload)


def _audit(connection: Connection, key: str, kind: str, audit: Audit, now: str, payload: bytes) -> None:
    connection.execute(
        "INSERT INTO druid_audit (audit_key, type, author, comment, created_date, payload) VALUES (?, ?, ?, ?, ?, ?)",
        (key, kind, audit.author[:255], audit.comment[:2048], now, payload),
    )


def audit_entries(connection: Connection, kind: str, key: str | None, limit: int) -> list[AuditEntry]:
    """The newest entries of a kind, of one key if given."""
    statement = "SELECT audit_key, type, author, comment, created_date, payload FROM druid_audit WHERE type = ?"
    values: list[object] = [kind]
    if key is not None:
        statement += " AND audit_key = ?"
        values.append(key)
    rows = connection.execute(statement + " ORDER BY id DESC LIMIT ?", [*values, limit])
    return [
        AuditEntry(
            key=audit_key, type=kind, author=author, comment=comment, created_date=created, payload=json.loads(payload)
        )
        for audit_key, kind, author, comment, created, payload in rows
    ]
