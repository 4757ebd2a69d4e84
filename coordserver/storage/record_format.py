"""Command records <-> bytes.

A batch's payload is one msgpack array of records. A record is an array of seven:

    [op, session, number, acked, wall_ms, [[scheme, id], ...], [argument, ...]]

in the order of coordserver.core.model.records.Record. The header of each batch holds the version below. It rises
when a field is added or the meaning of one changes. A new operation does not raise it, for a record says what it is;
a record of an unknown one stops recovery (segment.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from coordserver.core.model.records import Record
from coordserver.storage.packing import pack, unpack

RECORD_VERSION = 1
_FIELDS = len(Record._fields)
_identities = itemgetter(Record._fields.index("identities"))
_new = tuple.__new__

Row = tuple[int, int, int, int, int, tuple[tuple[str, str], ...], tuple[Any, ...]]
"""A Record, but for its type."""


def encode_records(records: Sequence[Record]) -> bytes:
    """The payload of a batch. Records, identities and ACLs are tuples, so that msgpack takes them as they are."""
    return pack(tuple(records))


def decode_records(payload: bytes | memoryview) -> list[Record]:
    """The records of a payload. Raises ValueError where it has another form."""
    return [_new(Record, row) for row in decode_rows(payload)]


def decode_rows(payload: bytes | memoryview) -> tuple[Row, ...]:
    """The records of a payload as plain tuples, for whoever takes them apart by position: a start reads millions, and
    half of what reading takes would be to make something of a type of each. Raises ValueError as `decode_records`.
    """
    rows = unpack(payload)
    if not isinstance(rows, tuple):
        raise ValueError("a payload is an array of records")
    # What can be asked of all at once is, for the same reason.
    if rows and (set(map(type, rows)) != {tuple} or set(map(len, rows)) != {_FIELDS}):
        raise ValueError(f"a record is an array of {_FIELDS}")
    try:
        for identities in set(map(_identities, rows)):
            for _scheme, _name in identities:
                pass  # or it is no pair, which is a ValueError
    except TypeError as error:
        raise ValueError(f"identities are an array of pairs: {error}") from error
    return rows
