"""A small history that uses every type of record, and what its state must be after each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE, Identity
from coordserver.core.model.operations import CreateMode, Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.storage import recover_state
from coordserver.storage.disk import Disk
from coordserver.storage.txnlog import TxnLog

HISTORY = bytes(range(16))
ANYONE = (Identity("world", "anyone"),)
ANN = (*ANYONE, Identity("digest", "ann:secret"))
ACL_OF_ANN = (ACL(31, "digest", "ann:secret"), ACL(1, "world", "anyone"))


def record(op: int, *arguments: Any, session: int = 7, number: int = 0, acked: int = 0, who: Any = ANYONE) -> Record:
    """A command at a fixed wall clock."""
    return Record(int(op), session, number, acked, 1_700_000_000_000, who, arguments)


def create(path: str, data: bytes = b"", mode: int = CreateMode.PERSISTENT, **more: Any) -> Record:
    """A create with an open ACL."""
    return record(Op.CREATE, path, data, OPEN_ACL_UNSAFE, int(mode), 0, **more)


RECORDS: tuple[Record, ...] = (
    record(Op.CREATE_SESSION, b"p" * 16, 10_000),
    create("/a", b"one", number=1, acked=1),
    create("/a/s-", mode=CreateMode.EPHEMERAL_SEQUENTIAL, number=2, acked=1),
    record(Op.NOOP, session=0),
    record(Op.CREATE, "/private", b"\x00\xff", ACL_OF_ANN, 0, 0, who=ANN, number=3, acked=2),
    record(Op.SET_DATA, "/a", "é".encode(), 0, number=4, acked=4),
    record(Op.SET_DATA, "/a", b"refused", 9, number=5, acked=4),
    record(Op.SET_ACL, "/a", ACL_OF_ANN, -1, who=ANN, number=6, acked=4),
    record(Op.RESUME_SESSION, 20_000, 2),
    record(
        Op.MULTI,
        (
            (int(Op.CHECK), ("/private", 0)),
            (int(Op.CREATE), ("/c", b"", OPEN_ACL_UNSAFE, int(CreateMode.CONTAINER), 0)),
            (int(Op.CREATE), ("/c/ü", b"x" * 40, OPEN_ACL_UNSAFE, 0, 0)),
        ),
        who=ANN,
        number=7,
        acked=7,
    ),
    record(Op.DELETE, "/c/ü", -1, number=8, acked=8),
    record(Op.DELETE_CONTAINER, "/c", 9, session=0),
    record(Op.CHECK, "/private", 0, who=ANN, number=9, acked=8),
    record(Op.CREATE, "/t", b"", None, int(CreateMode.PERSISTENT_WITH_TTL), 60_000, number=10, acked=9),
    record(Op.CLOSE_SESSION),
)

BATCHES: tuple[tuple[Record, ...], ...] = (RECORDS[:1], RECORDS[1:4], RECORDS[4:5], RECORDS[5:9], RECORDS[9:])


def digests(records: Sequence[Record]) -> list[int]:
    """The state's digest after each index, from 0."""
    machine = Machine.new(HISTORY)
    found = [machine.digest()]
    for index, each in enumerate(records, 1):
        machine.apply(index, each)
        found.append(machine.digest())
    return found


@attrs.frozen
class History:
    """What the tests share."""

    records: tuple[Record, ...] = RECORDS
    batches: tuple[tuple[Record, ...], ...] = BATCHES
    digests: tuple[int, ...] = attrs.field(factory=lambda: tuple(digests(RECORDS)))
    history_id: bytes = HISTORY

    @staticmethod
    def entropy(length: int) -> bytes:
        """The same ids and salts in each run."""
        return HISTORY[:length]

    @staticmethod
    def write(log: TxnLog, machine: Machine, records: Sequence[Record]) -> None:
        """Append and apply one batch, as the server does."""
        log.append(records, log.next_index)
        for each in records:
            machine.apply(machine.index + 1, each)

    def recovered_index(self, disk: Disk) -> int:
        """Recover, check that the state is the one after some index, and give that index."""
        recovered = recover_state(disk, Machine, segment_bytes=4096, entropy=self.entropy)
        recovered.log.close()
        index = recovered.machine.index
        assert recovered.machine.digest() == self.digests[index]
        assert recovered.next_index == recovered.log.next_index == index + 1
        recovered.machine.check_invariants()
        return index


@pytest.fixture(scope="session")
def history() -> History:
    """The small history."""
    return History()
