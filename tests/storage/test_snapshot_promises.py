"""What a snapshot promises once it is written, each promise by itself."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from coordserver.core.state.machine import Machine
from coordserver.storage import CorruptionError, SnapshotWriter, load_snapshot, recover_state, retain, save_snapshot
from coordserver.storage.layout import log_indexes, snapshot_indexes, snapshot_name
from coordserver.testing.memory_disk import MemoryDisk


def state_of(history: Any) -> Machine:
    machine = Machine.new(history.history_id)
    for index, record in enumerate(history.records, 1):
        machine.apply(index, record)
    return machine


@pytest.mark.parametrize("seed", range(20))
def test_it_is_durable_under_its_name(history: Any, seed: int) -> None:
    """What comes after it, as purging the log behind it, relies on that."""
    disk, machine = MemoryDisk(Random(seed)), state_of(history)
    save_snapshot(disk, machine)
    disk.crash()
    assert load_snapshot(disk, machine.index, Machine).digest() == machine.digest()


def test_one_that_cannot_be_built_falls_back_to_the_log(history: Any) -> None:
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=4096, entropy=history.entropy)
    history.write(recovered.log, recovered.machine, history.records)
    recovered.log.seal()
    digest = recovered.machine.digest()
    writer = SnapshotWriter(disk, recovered.machine.index, history.history_id)
    rows = [row for row in recovered.machine.snapshot_rows() if row[:2] != ("znode", "/")]
    writer.add(rows)
    writer.finish()
    again = recover_state(disk, Machine, segment_bytes=4096)
    assert again.machine.digest() == digest
    assert any("SNAPSHOT UNUSABLE" in line for line in again.report)


def test_one_that_was_unusable_is_never_the_one_that_is_kept(history: Any) -> None:
    """On a full disk all but the newest go, with the log before it."""
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=300, entropy=history.entropy)
    half = len(history.records) // 2
    history.write(recovered.log, recovered.machine, history.records[:half])
    save_snapshot(disk, recovered.machine)
    history.write(recovered.log, recovered.machine, history.records[half:])
    bad = save_snapshot(disk, recovered.machine)
    recovered.log.seal()
    disk.flip(bad.name, bad.bytes - 1)
    recover_state(disk, Machine, segment_bytes=300)
    retain(disk, 1)
    assert f"{bad.name}.damaged" in disk.names()
    again = recover_state(disk, Machine, segment_bytes=300)
    assert again.machine.digest() == recovered.machine.digest()
    assert (again.snapshot_index, again.report[0][:9]) == (half, "recovered")


def test_a_flipped_bit_is_told_by_its_block(history: Any) -> None:
    """Not by the digest alone, which says only that something is wrong somewhere."""
    disk, machine = MemoryDisk(), state_of(history)
    info = save_snapshot(disk, machine)
    for offset in range(64 + 16, info.bytes - 40, 7):
        disk.flip(info.name, offset)
        with pytest.raises(CorruptionError, match="a block's checksum is wrong"):
            load_snapshot(disk, machine.index, Machine)
        disk.flip(info.name, offset)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept_and_each_of_them_is_enough(history: Any, keep: int) -> None:
    """Whichever of those kept is the last that is good, with the log behind it, it gives the same state."""
    for every in (1, 2, 3):
        disk = MemoryDisk()
        recovered = recover_state(disk, Machine, segment_bytes=300, entropy=history.entropy)
        for record in history.records:
            history.write(recovered.log, recovered.machine, (record,))
            if recovered.machine.index % every == 0:
                save_snapshot(disk, recovered.machine)
                retain(disk, keep)
        recovered.log.seal()
        recovered.log.close()
        taken = [index for index in range(1, len(history.records) + 1) if index % every == 0]
        assert snapshot_indexes(disk.names()) == taken[-keep:]
        assert len(log_indexes(disk.names())) < len(history.records) // 2
        for index in reversed(taken[-keep:]):
            again = recover_state(disk, Machine, segment_bytes=300)
            again.log.close()
            assert again.machine.digest() == recovered.machine.digest()
            disk.flip(snapshot_name(index), 100)
