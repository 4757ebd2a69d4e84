"""Payloads as bytes: compact JSON, gzipped where Druid gzips, read back whether gzipped or not.

Druid compresses only announcements, segment batches and discovery nodes (its writers ask with `.compressed()`);
load-queue entries, assignments, statuses and latch nodes are raw. Its readers fall back to the raw bytes, so the magic
number decides.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from druidroles.model.decode import ModelError, json_decoder, parse_json

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31
# A znode holds at most a megabyte; what inflates to more than this is no payload but an attack.
MAX_INFLATED_BYTES = 64 << 20


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def compress(data: bytes) -> bytes:
    """gzip, quickly and reproducibly: the same bytes for the same data at any time."""
    return gzip.compress(data, compresslevel=1, mtime=0)


def dumps_gz(value: Any) -> bytes:
    """Compact JSON in UTF-8, gzipped."""
    return compress(dumps(value))


def loads(data: bytes, *, duplicates: bool = True) -> Any:
    """The JSON in `data`, gzipped or not. Raises ModelError for anything else; of duplicate keys the first counts.

    Where there are none, reading without regard to `duplicates` is twice as fast.
    """
    if data[:2] == _GZIP_MAGIC:
        data = _inflate(data)
    return parse_json(data, _FIRST_COUNTS) if duplicates else parse_json(data)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        inflated = inflater.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise ModelError(f"not gzip: {error}") from error
    if inflater.unconsumed_tail:
        raise ModelError(f"inflates to more than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof:
        raise ModelError("not gzip: cut short")
    return inflated


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    obj = dict(pairs)
    if len(obj) == len(pairs):
        return obj
    # Druid's dataNodeService has two keys `type`: its own name first, as Jackson's type id must come, then the
    # server's. Older versions write the server's type nowhere else.
    obj = {}
    for key, value in pairs:
        if key not in obj:
            obj[key] = value
        elif key == "type":
            obj.setdefault("serverType", value)
    return dict(pairs) | obj if "serverType" not in obj else _with_own_server_type(pairs, obj)


def _with_own_server_type(pairs: list[tuple[str, Any]], obj: dict[str, Any]) -> dict[str, Any]:
    for key, value in pairs:
        if key == "serverType":
            obj[key] = value
    return obj


_FIRST_COUNTS = json_decoder(_pairs)
