"""A tree as JSON lines: a header, then a line for each znode, parents first.

    {"coord_export": 1, "root": "/", "zxid": 4294967296}
    {"path": "/a", "data": "text"}
    {"path": "/b", "data": "AP8=", "encoding": "base64", "acl": [[31, "digest", "ann:…"]]}
    {"path": "/c", "data": null, "container": true}
    {"path": "/e", "data": "", "ephemeral": true, "owner": "0x100…"}
    {"path": "/t", "data": "", "ttl_ms": 60000}

An open ACL is left out. A reader ignores members that it does not know.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from typing import Any

from cli.render import data_fields
from cli.snapshot.entries import Entry
from coordserver.core.model import paths
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE

VERSION = 1


class ExportError(ValueError):
    """A line of an export is invalid. The text has its number and the reason."""


def header_line(root: str, zxid: int) -> str:
    """Return the first line of an export."""
    return json.dumps({"coord_export": VERSION, "root": root, "zxid": zxid}, ensure_ascii=False)


def entry_line(entry: Entry) -> str:
    """Return the line of a znode."""
    line: dict[str, Any] = {"path": entry.path}
    line |= {"data": None} if entry.data is None else data_fields(entry.data)
    if entry.acl is not OPEN_ACL_UNSAFE and entry.acl != OPEN_ACL_UNSAFE:
        line["acl"] = [list(acl) for acl in entry.acl]
    if entry.owner:
        line |= {"ephemeral": True, "owner": f"{entry.owner & (1 << 64) - 1:#x}"}
    if entry.container:
        line["container"] = True
    if entry.ttl_ms:
        line["ttl_ms"] = entry.ttl_ms
    return json.dumps(line, ensure_ascii=False)


def read_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of an export. Raises ExportError, which names the line."""
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            if number == 1:
                _check_header(value)
                continue
            entry = _parse_entry(value)
            if entry.path in seen:
                raise ExportError(f"{entry.path} appears twice")
        except (ValueError, TypeError, KeyError) as fault:
            raise ExportError(f"line {number}: {_describe(fault)}") from None
        seen.add(entry.path)
        yield entry


def _check_header(value: Any) -> None:
    version = value.get("coord_export") if isinstance(value, dict) else None
    if version is None:
        raise ExportError("not an export: the first line has no coord_export")
    if version != VERSION:
        raise ExportError(f"an export of version {version}; only version {VERSION} is supported")


def _parse_entry(value: Any) -> Entry:
    if not isinstance(value, dict):
        raise ExportError("not an object")
    path = value["path"]
    if not isinstance(path, str) or not paths.is_valid(path):
        raise ExportError(f"path: not a path: {path!r}")
    ttl_ms = value.get("ttl_ms", 0)
    if type(ttl_ms) is not int or ttl_ms < 0:
        raise ExportError("ttl_ms: not a number of milliseconds")
    owner = int(value.get("owner", "0x1"), 16) if value.get("ephemeral") else 0
    return Entry(path, _parse_data(value), _parse_acl(value), owner, value.get("container") is True, ttl_ms)


def _parse_data(value: dict[str, Any]) -> bytes | None:
    data, encoding = value["data"], value.get("encoding", "utf-8")
    if data is None:
        return None
    if not isinstance(data, str):
        raise ExportError("data: not a string")
    if encoding == "utf-8":
        return data.encode()
    if encoding != "base64":
        raise ExportError(f"encoding: {encoding!r} is not supported")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as fault:
        raise ExportError(f"data: {fault}") from None


def _parse_acl(value: dict[str, Any]) -> tuple[ACL, ...]:
    plain = value.get("acl")
    if plain is None:
        return OPEN_ACL_UNSAFE
    acl = tuple(ACL(*entry) for entry in plain)
    if not acl or not all(type(perms) is int and type(s) is str and type(i) is str for perms, s, i in acl):
        raise ExportError("acl: not a list of [permissions, scheme, id]")
    return acl


def _describe(fault: Exception) -> str:
    if isinstance(fault, json.JSONDecodeError):
        return f"not JSON: {fault.msg}"
    return f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
