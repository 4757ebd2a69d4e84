"""When the log begins another segment: for batches of every size, and where only a seal stands in the last one."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.storage import recover_state
from coordserver.storage.batch_format import BATCH_HEADER_BYTES
from coordserver.storage.errors import DiskSpaceError
from coordserver.storage.file_header import HEADER_BYTES
from coordserver.storage.record_format import encode_records
from coordserver.storage.txnlog import TxnLog
from coordserver.testing.memory_disk import MemoryDisk

SEGMENT = 4096


def started(disk: MemoryDisk) -> tuple[TxnLog, Machine]:
    found = recover_state(disk, Machine, segment_bytes=SEGMENT, entropy=lambda size: bytes(range(size)))
    return found.log, found.machine


def create(size: int) -> Record:
    return Record(int(Op.CREATE), 0, 0, 0, 1, (), ("/a", bytes(size), None, 0, 0))


def batch_of(total: int) -> list[Record]:
    """One record whose batch has `total` bytes."""
    rest = total - BATCH_HEADER_BYTES - len(encode_records([create(1_000)])) + 1_000
    records = [create(rest)]
    assert BATCH_HEADER_BYTES + len(encode_records(records)) == total
    return records


@pytest.mark.parametrize("total", [SEGMENT - HEADER_BYTES + more for more in (-60, -1, 0, 1, 5_000)])
@pytest.mark.parametrize("before", [0, 1])
def test_a_batch_larger_than_a_segment_gets_one_of_its_own_size(total: int, before: int) -> None:
    """Reserved before it is written, so that want of room is told before anything was."""
    disk = MemoryDisk(Random(1))
    log, _ = started(disk)
    for index in range(1, before + 1):
        log.append([create(10)], index)
    for index in (before + 1, before + 2):
        log.append(batch_of(total), index)
    log.append([create(10)], before + 3)
    assert log.segment_left >= 0
    disk.crash()
    assert started(disk)[1].index == before + 3


def test_no_room_for_a_large_batch_breaks_nothing() -> None:
    disk = MemoryDisk(Random(1), capacity_bytes=3 * SEGMENT)
    log, _ = started(disk)
    for _ in range(2):
        with pytest.raises(DiskSpaceError):
            log.append(batch_of(3 * SEGMENT), 1)
    log.append([create(10)], 1)
    disk.crash()
    assert started(disk)[1].index == 1


@pytest.mark.parametrize("total", [SEGMENT - HEADER_BYTES, 2 * SEGMENT])
def test_a_segment_that_holds_only_a_seal_may_be_replaced(total: int) -> None:
    """The seal found no room in the segment before; the batch behind it finds none beside the seal."""
    disk = MemoryDisk(Random(1))
    log, _ = started(disk)
    log.append(batch_of(SEGMENT - HEADER_BYTES), 1)
    assert log.segment_left == 0
    log.seal()
    names = [name for name in disk.names() if name.startswith("log.")]
    assert len(names) == 2
    log.append(batch_of(total), 2)
    assert [name for name in disk.names() if name.startswith("log.")] == names
    disk.crash()
    assert started(disk)[1].index == 2


def test_whoever_wants_to_know_is_told_of_every_segment() -> None:
    disk = MemoryDisk(Random(1))
    log, _ = started(disk)
    told: list[Any] = []
    log.on_roll = lambda: told.append(disk.free())
    for index in range(1, 8):
        log.append(batch_of(2_000), index)
    assert len(told) == 3
