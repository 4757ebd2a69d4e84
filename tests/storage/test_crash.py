"""The disk fails at its n-th operation, for every n; the power goes; what was acknowledged must be there again.

The server of these tests does what the real one does: recover, append and apply batch by batch, now and then a
snapshot and the purge behind it. A batch is acknowledged once `append` has returned. Whatever fails, the next start
on the disk must succeed (nothing was damaged, so there is nothing to refuse) with the state after some index at or
behind the last acknowledged.
"""

from __future__ import annotations

import errno
from itertools import count
from random import Random
from typing import Any

import pytest

from coordserver.core.state.machine import Machine
from coordserver.storage import StorageError, recover_state, retain, save_snapshot
from coordserver.testing.memory_disk import MemoryDisk

SEGMENT_BYTES = 300  # one or two batches, so that the few batches fill several segments


def serve(disk: MemoryDisk, history: Any, *, keep: int = 2) -> int:
    """One life of a server, until the history is written or the disk fails. The index last acknowledged."""
    acknowledged = 0
    try:
        recovered = recover_state(disk, Machine, segment_bytes=SEGMENT_BYTES, entropy=history.entropy)
        machine = recovered.machine
        assert machine.digest() == history.digests[machine.index]
        acknowledged = machine.index
        for batch in history.batches:
            rest = batch[max(0, machine.index - history.records.index(batch[0])) :]
            if not rest:
                continue
            history.write(recovered.log, machine, rest)
            acknowledged = machine.index
            save_snapshot(disk, machine)
            retain(disk, keep)
        recovered.log.seal()
    except StorageError:
        pass
    return acknowledged


@pytest.mark.parametrize("end", ["crash", "restart"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("repeat", [False, True])
def test_failing_at_every_operation_loses_nothing_acknowledged(history: Any, end: str, code: int, repeat: bool) -> None:
    for operation in count(1):
        disk = MemoryDisk(Random(operation))
        disk.fail_at(operation, code, repeat=repeat)
        acknowledged = serve(disk, history)
        untouched = disk.operations < operation
        getattr(disk, end)()
        index = history.recovered_index(disk)
        assert index >= acknowledged, f"lost at operation {operation}"
        if untouched:
            break
    assert operation > 80  # the harness reaches the disk at all
    assert acknowledged == index == len(history.records)


@pytest.mark.parametrize("seed", range(60))
def test_failing_again_and_again_loses_nothing_acknowledged(history: Any, seed: int) -> None:
    """Several lives on one disk, each with its own failure, then a power cut or only the end of the process."""
    random = Random(seed)
    disk = MemoryDisk(random)
    acknowledged = 0
    for _ in range(25):
        disk.fail_at(random.randrange(1, 80), repeat=random.random() < 0.5)
        acknowledged = max(acknowledged, serve(disk, history))
        random.choice((disk.crash, disk.restart))()
        index = history.recovered_index(disk)
        assert index >= acknowledged
        acknowledged = index  # it was shown to a client now
        random.choice((disk.crash, disk.restart))()
    disk.crash()
    assert history.recovered_index(disk) >= acknowledged


@pytest.mark.parametrize("seed", range(40))
def test_the_power_goes_during_recovery(history: Any, seed: int) -> None:
    whole = MemoryDisk(Random(seed))
    acknowledged = serve(whole, history)
    whole.crash()
    for operation in range(1, 40):
        whole.fail_at(operation, repeat=True)
        serve(whole, history)
        whole.crash()
    assert history.recovered_index(whole) == acknowledged


def test_a_disk_that_forgets_syncs_is_caught(history: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: a log that does not sync must fail these tests."""
    monkeypatch.setattr("coordserver.testing.memory_disk.MemoryFile.sync", lambda self: None)
    lost = 0
    for seed in range(20):
        disk = MemoryDisk(Random(seed))
        acknowledged = serve(disk, history)
        disk.crash()
        try:
            lost += history.recovered_index(disk) < acknowledged
        except StorageError:
            lost += 1
    assert lost
