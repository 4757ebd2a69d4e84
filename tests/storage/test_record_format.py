"""What is in a payload, where its checksum is right all the same."""

from __future__ import annotations

from typing import Any

import pytest

from coordserver.core.model.acl import Identity
from coordserver.core.model.records import Record
from coordserver.storage.packing import pack
from coordserver.storage.record_format import decode_records, decode_rows, encode_records

ANN = (Identity("ip", "127.0.0.1"), Identity("digest", "ann:hash"))
RECORDS = (
    Record(1, 2, 3, 4, 5, ANN, ("/a", b"", None, 0, 0)),
    Record(2, 2, 0, 0, 5, (), ("/\ud800", -1)),
    Record(0, 0, 0, 0, 5, ANN, ()),
)


def test_records_come_back_as_they_went() -> None:
    payload = encode_records(RECORDS)
    assert decode_records(payload) == list(RECORDS)
    assert all(type(record) is Record for record in decode_records(payload))
    assert decode_rows(memoryview(payload)) == RECORDS
    assert decode_records(encode_records(())) == []


@pytest.mark.parametrize(
    "value",
    [
        7,
        b"1234567",
        (7,),
        ("seven's",),
        (RECORDS[0][:6],),
        (RECORDS[0], (*RECORDS[0], 1)),
        ((1, 2, 3, 4, 5, 6, ()),),
        ((1, 2, 3, 4, 5, (("ip",),), ()),),
        ((1, 2, 3, 4, 5, (6,), ()),),
        (RECORDS[0], (1, 2, 3, 4, 5, ((1, 2, 3),), ())),
    ],
)
def test_another_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"array of|unpack"):
        decode_rows(pack(value))


def test_what_is_cut_or_followed_by_more_is_refused() -> None:
    payload = encode_records(RECORDS)
    for length in range(len(payload)):
        with pytest.raises(ValueError, match=r"msgpack|array"):
            decode_rows(payload[:length])
    with pytest.raises(ValueError, match="msgpack"):
        decode_rows(payload + b"\0")
