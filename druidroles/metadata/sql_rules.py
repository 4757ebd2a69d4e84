"""The statements on `druid_rules`, `druid_config`, `druid_audit` and `coord_leaders`, inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from druidroles.metadata.errors import StaleEpochError
from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch, StoredRules
from druidroles.metadata.sql import Connection
from druidroles.metadata.unreadable import UnreadableRowError, UnreadableRows
from druidroles.model.decode import as_object
from druidroles.model.iso import parse_iso
from druidroles.rules.rules import parse_rules

RULES = "druid_rules"
CONFIG = "druid_config"
AUDIT = "druid_audit"


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


def is_empty(connection: Connection) -> bool:
    """Whether no row was ever stored that a cluster lives on."""
    tables = ("coord_leaders", "druid_segments", "druid_rules", "druid_config", "druid_tasks")
    return all(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None for table in tables)


def epochs(connection: Connection) -> dict[str, int]:
    """Role to epoch."""
    return dict(connection.execute("SELECT role, epoch FROM coord_leaders ORDER BY role").fetchall())


def rules(connection: Connection, unreadable: UnreadableRows) -> StoredRules:
    """The newest version of the rules of each datasource."""
    rows = connection.execute(
        "SELECT r.dataSource, r.payload FROM druid_rules r JOIN"
        " (SELECT dataSource, max(version /*C*/) AS version FROM druid_rules GROUP BY dataSource) newest"
        " ON newest.dataSource = r.dataSource AND newest.version = r.version ORDER BY r.dataSource"
    )
    found: dict[str, list[dict[str, Any]]] = {}
    faults: dict[str, str] = {}
    for data_source, payload in rows:
        try:
            found[data_source] = unreadable.require(RULES, data_source, payload, _rules)
        except UnreadableRowError as error:
            faults[data_source] = error.fault
    return StoredRules(rules=found, faults=faults)


def _rules(value: Any) -> list[dict[str, Any]]:
    parse_rules(value)
    rules: list[dict[str, Any]] = value
    return rules


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


def config(connection: Connection, name: str, unreadable: UnreadableRows) -> Mapping[str, Any] | None:
    """A configuration's object, None where there is none. Raises UnreadableRowError."""
    row = connection.execute("SELECT payload FROM druid_config WHERE name = ?", (name,)).fetchone()
    return None if row is None else unreadable.require(CONFIG, name, row[0], lambda value: as_object(value, name))


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


def audit_entries(
    connection: Connection, kind: str, key: str | None, limit: int, unreadable: UnreadableRows
) -> list[AuditEntry]:
    """The newest entries of a kind, of one key if given."""
    statement = "SELECT id, audit_key, type, author, comment, created_date, payload FROM druid_audit WHERE type = ?"
    values: list[object] = [kind]
    if key is not None:
        statement += " AND audit_key = ?"
        values.append(key)
    rows = connection.execute(statement + " ORDER BY id DESC LIMIT ?", [*values, limit])
    return [entry for row in rows if (entry := _entry(row, unreadable)) is not None]


def _entry(row: tuple[Any, ...], unreadable: UnreadableRows) -> AuditEntry | None:
    row_id, key, kind, author, comment, created, payload = row

    def read(value: Any) -> AuditEntry:
        parse_iso(created)
        return AuditEntry(key=key, type=kind, author=author, comment=comment, created_date=created, payload=value)

    return unreadable.read(AUDIT, row_id, payload, read)
