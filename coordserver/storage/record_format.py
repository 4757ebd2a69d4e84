"""Command records <-> bytes.

A batch's payload is one msgpack array of records. A record is an array of seven:

    [op, session, number, acked, wall_ms, [[scheme, id], ...], [argument, ...]]

in the order of coordserver.core.records.Record. The version below is written in the header of each batch. It rises
when a field is added or the meaning of one changes. A new operation does not raise it, for a record says what it is;
a record of an unknown one stops recovery (segment.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from coordserver.core.acl import Identity
from coordserver.core.records import Record
from coordserver.storage.packing import pack, unpack

RECORD_VERSION = 1
_FIELDS = len(Record._fields)


def encode_records(records: Sequence[Record]) -> bytes:
    """The payload of a batch. Records, identities and ACLs are tuples, so that msgpack takes them as they are."""
    return pack(tuple(records))


def decode_records(payload: bytes | memoryview) -> list[Record]:
    """The records of a payload. Raises ValueError where it has another form."""
    rows = unpack(payload)
    if not isinstance(rows, tuple):
        raise ValueError("a payload is an array of records")
    known: dict[tuple[tuple[str, str], ...], tuple[Identity, ...]] = {(): ()}
    records = []
    for row in rows:
        if not isinstance(row, tuple) or len(row) != _FIELDS:
            raise ValueError(f"a record is an array of {_FIELDS}")
        op, session, number, acked, wall_ms, plain, arguments = row
        identities = known.get(plain)
        if identities is None:
            # Few distinct sets of identities occur, so that each is made once and shared.
            identities = known[plain] = tuple(Identity(scheme, name) for scheme, name in plain)
        records.append(Record(op, session, number, acked, wall_ms, identities, arguments))
    return records
