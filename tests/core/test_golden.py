"""A log written long ago replays to the state that it had then: a record type never changes its meaning.

`data/golden.json` holds records of every type, as an earlier version of this software logged them, with what each came
to and the digest of the state after it. Where one of these assertions fails a new server would read old logs wrongly:
give the new meaning a new record type. To add records of new types, append to RECORDS in `make_golden` and run
`python tests/core/test_golden.py`; lines that were there must not change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coordserver.core.model.acl import Identity
from coordserver.core.model.operations import OPERATIONS, RECORDED_AS, Kind, Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.storage.record_format import decode_records, encode_records

GOLDEN = Path(__file__).parent / "data" / "golden.json"
HISTORY = bytes(range(16))


def lines() -> list[dict[str, Any]]:
    """The golden file."""
    loaded: list[dict[str, Any]] = json.loads(GOLDEN.read_text())
    return loaded


def test_the_golden_log_replays_to_the_golden_states() -> None:
    machine = Machine.new(HISTORY)
    assert f"{machine.digest():016x}" == "5e39627b54b1e2cb"
    for index, line in enumerate(lines(), 1):
        [record] = decode_records(bytes.fromhex(line["record"]))
        outcome = machine.apply(index, record)
        told = [line["zxid"], line["error"], line["events"], line["duplicate"]]
        assert [outcome.zxid, outcome.error, [list(e[:2]) for e in outcome.events], outcome.duplicate] == told, index
        assert f"{machine.digest():016x}" == line["digest"], f"after record {index}: {record}"
    machine.check_invariants()


def test_the_golden_log_has_every_type_of_record_in_today_s_bytes() -> None:
    seen = set()
    for line in lines():
        payload = bytes.fromhex(line["record"])
        [record] = decode_records(payload)
        assert encode_records([record]) == payload
        seen.add(record.op)
    logged = {RECORDED_AS.get(op, op) for op, row in OPERATIONS.items() if row.kind is not Kind.READ}
    assert seen == logged - {int(Op.CHECK)}  # check is logged inside a multi only


def golden_records() -> list[tuple[Op, int, int, int, Any, Any]]:
    """What is logged, oldest first: (op, session, number, acked, identities, arguments)."""
    ip = (Identity("ip", "127.0.0.1"),)
    ann = (*ip, Identity("digest", "ann:hash"))
    acl = ((31, "digest", "ann:hash"), (1, "world", "anyone"))
    multi = (
        (int(Op.CHECK), ("/a", -1)),
        (int(Op.CREATE), ("/m", None, None, 0, 0)),
        (int(Op.SET_DATA), ("/m", b"1", 0)),
        (int(Op.CREATE), ("/m/s-", b"", acl, 3, 0)),
        (int(Op.DELETE), ("/m/s-0000000000", 0)),
    )
    return [
        (Op.CREATE_SESSION, 7, 0, 0, ip, (b"p" * 16, 10_000)),
        (Op.CREATE_SESSION, 8, 0, 0, ip, (b"q" * 16, 10_000)),
        (Op.CREATE_SESSION, 8, 0, 0, ip, (b"r" * 16, 10_000)),
        (Op.CREATE, 7, 1, 1, ip, ("/a", b"\x00\xff", None, 0, 0)),
        (Op.CREATE, 7, 2, 1, ip, ("/a/e-", b"", None, 3, 0)),
        (Op.CREATE, 7, 2, 1, ip, ("/a/e-", b"", None, 3, 0)),
        (Op.CREATE, 7, 3, 2, ip, ("/a/e-0000000000/x", b"", None, 0, 0)),
        (Op.CREATE, 7, 4, 2, ip, ("//x", b"", None, 0, 0)),
        (Op.CREATE, 7, 5, 2, ann, ("/private", b"", acl, 0, 0)),
        (Op.CREATE, 8, 1, 1, ip, ("/private/x", b"", None, 0, 0)),
        (Op.SET_DATA, 7, 6, 5, ip, ("/a", "é".encode(), 0)),
        (Op.SET_DATA, 7, 7, 5, ip, ("/a", b"", 7)),
        (Op.SET_ACL, 7, 8, 5, ip, ("/a", acl, 0)),
        (Op.RESUME_SESSION, 7, 0, 0, ip, (20_000, 2)),
        (Op.NOOP, 0, 0, 0, (), ()),
        (Op.MULTI, 7, 9, 9, ann, (multi,)),
        (Op.MULTI, 7, 10, 9, ann, ((*multi, (int(Op.ERROR), (-8,))),)),
        (Op.CREATE, 7, 11, 9, ann, ("/c", b"", None, 4, 0)),
        (Op.DELETE_CONTAINER, 0, 0, 0, (), ("/c", 15)),
        (Op.CREATE, 7, 12, 9, ann, ("/ttl", b"", None, 6, 30)),
        (Op.DELETE_CONTAINER, 0, 0, 0, (), ("/ttl0000000004", 17)),
        (Op.DELETE, 7, 13, 9, ip, ("/a", -1)),
        (Op.DELETE, 7, 14, 9, ip, ("/m", -1)),
        (Op.CREATE, 7, 14, 9, ip, ("/m", b"", None, 0, 0)),
        (Op.CREATE, 7, 1, 9, ip, ("/m", b"", None, 0, 0)),
        (Op.CREATE, 8, 2, 1, ip, ("/e", b"", None, 1, 0)),
        (Op.CLOSE_SESSION, 7, 15, 15, ip, ()),
        (Op.CREATE, 7, 16, 16, ip, ("/late", b"", None, 0, 0)),
        (Op.CLOSE_SESSION, 8, 0, 0, (), ()),
        (Op.CREATE_SESSION, 9, 0, 0, ip, (b"s" * 16, 10_000)),
        (Op.ERROR, 9, 0, 0, (), (-114,)),
        (Op.CREATE, 9, 0, 0, ip, ("/box-", None, None, 7, 0)),
        (Op.CREATE, 9, 0, 0, ip, ("/zookeeper/quota/q", None, None, 0, 0)),
        (Op.CREATE, 9, 0, 0, ip, ("/q", b"12", None, 0, 0)),
        (
            Op.CREATE,
            9,
            0,
            0,
            ip,
            ("/zookeeper/quota/q/zookeeper_limits", b"count=-1,bytes=-1=;countHardLimit=2", None, 0, 0),
        ),
        (Op.CREATE, 9, 0, 0, ip, ("/zookeeper/quota/q/zookeeper_stats", b"", None, 0, 0)),
        (Op.CREATE, 9, 0, 0, ip, ("/q/a", b"345", None, 0, 0)),
        (Op.CREATE, 9, 0, 0, ip, ("/q/b", b"", None, 0, 0)),
        (Op.CONFIGURE, 0, 0, 0, (), (True,)),
        (Op.CREATE, 9, 0, 0, ip, ("/q/c", b"", None, 0, 0)),
        (Op.CREATE, 9, 1, 1, ip, ("/t", b"1", None, 0, 0)),
        (Op.CREATE, 9, 2, 1, ip, ("/t/b", b"22", None, 0, 0)),
        (Op.CREATE, 9, 3, 1, ip, ("/t/b/e", b"", None, 1, 0)),
        (Op.CREATE, 9, 4, 1, ip, ("/t/a", b"", acl, 0, 0)),
        (Op.CREATE, 9, 5, 1, ann, ("/t/a/x", b"", None, 0, 0)),
        (Op.DELETE_TREE, 9, 6, 1, ip, ("/t", 100)),
        (Op.DELETE_TREE, 9, 7, 1, ann, ("/t", 2)),
        (Op.DELETE_TREE, 9, 7, 1, ann, ("/t", 2)),
        (Op.DELETE_TREE, 9, 8, 1, ann, ("/t", 3)),
        (Op.DELETE_TREE, 9, 9, 1, ann, ("/t", 3)),
    ]


def make_golden() -> None:
    """Write the golden file anew."""
    wall = 1_700_000_000_000
    machine = Machine.new(HISTORY)
    written = []
    for index, (op, session, number, acked, who, arguments) in enumerate(golden_records(), 1):
        record = Record(int(op), session, number, acked, wall + 20 * index, who, arguments)
        outcome = machine.apply(index, record)
        written.append(
            {
                "record": encode_records([record]).hex(),
                "zxid": outcome.zxid,
                "error": outcome.error,
                "events": [list(event[:2]) for event in outcome.events],
                "duplicate": outcome.duplicate,
                "digest": f"{machine.digest():016x}",
            }
        )
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(line) for line in written) + "\n]\n")


if __name__ == "__main__":
    make_golden()
