"""Who changes rules and configuration, as told in headers, and the history of changes, as Druid shows it."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from druidroles.coordinator.api.parameters import count_param, interval_param
from druidroles.metadata import Audit, AuditEntry, MetadataStore
from druidroles.model.decode import ModelError
from druidroles.model.iso import parse_iso

COUNT = 25  # entries, where the request names neither a count nor an interval
COUNT_MAX = 10_000


def audit_of(request: Request) -> Audit:
    """What the headers say."""
    return Audit(author=request.headers.get("X-Druid-Author", ""), comment=request.headers.get("X-Druid-Comment", ""))


async def history(request: Request, store: MetadataStore, kind: str, key: str | None) -> list[dict[str, Any]]:
    """The newest changes first: the last `count`, or those within `interval`. DruidHttpError 400."""
    interval = interval_param(request)
    count = count_param(request, "count", COUNT if interval is None else COUNT_MAX)
    entries = await store.audit_entries(kind, key, count)
    return [_as_json(e) for e in entries if interval is None or interval.contains_ms(_at_ms(e))]


def _at_ms(entry: AuditEntry) -> int:
    try:
        return parse_iso(entry.created_date)
    except ModelError:
        return 0


def _as_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "type": entry.key if entry.type == "config" else entry.type,
        "auditInfo": {"author": entry.author, "comment": entry.comment, "ip": ""},
        "payload": json.dumps(entry.payload, separators=(",", ":")),
        "auditTime": entry.created_date,
    }
