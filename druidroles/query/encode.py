"""Results as JSON, without stopping the event loop for it.

One `json.dumps` of a big result would hold the interpreter for a second, in a thread too. So it is encoded some rows at
a time, and others run in between. The rows of a result lie either in the outer list (timeseries, groupBy) or in a list
within its items (`events` of scan, `result` of topN); both are cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import trio

ROWS_AT_ONCE = 500  # some 2 ms for rows of twenty columns

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


async def encode_results(results: Sequence[Mapping[str, Any]]) -> bytes:
    """The JSON array of a query's results."""
    text = bytearray()
    for piece in pieces_of(results):
        text += piece.encode()
        await trio.lowlevel.checkpoint()
    return bytes(text)


def pieces_of(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The text in pieces of some ROWS_AT_ONCE rows."""
    separator, batch, rows = "[", list[Mapping[str, Any]](), 0
    for result in results:
        inner = _rows_of(result)
        if batch and rows + len(inner) > ROWS_AT_ONCE:
            yield separator + _encoder.encode(batch)[1:-1]
            separator, batch, rows = ",", [], 0
        if len(inner) > ROWS_AT_ONCE:
            yield separator
            yield from _long_object(result)
            separator = ","
        else:
            batch.append(result)
            rows += max(1, len(inner))
    yield separator + _encoder.encode(batch)[1:-1] if batch else "[" if not results else ""
    yield "]"


def _rows_of(result: Mapping[str, Any]) -> Sequence[Any]:
    """The rows within a result; none where it is one row itself."""
    for key in ("events", "result"):
        if isinstance(result.get(key), list):
            rows: Sequence[Any] = result[key]
            return rows
    return ()


def _long_object(result: Mapping[str, Any]) -> Iterator[str]:
    rows, separator = _rows_of(result), "{"
    for key, value in result.items():
        yield f"{separator}{_encoder.encode(key)}:"
        separator = ","
        if value is not rows:
            yield _encoder.encode(value)
            continue
        comma = "["
        for at in range(0, len(rows), ROWS_AT_ONCE):
            yield comma + _encoder.encode(rows[at : at + ROWS_AT_ONCE])[1:-1]
            comma = ","
        yield "]"
    yield "}"
