"""A log whose disk failed once: nothing is appended any more, though the disk would take it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from coordserver.core.state.machine import Machine
from coordserver.storage import StorageError, recover_state
from coordserver.testing.memory_disk import MemoryDisk


@pytest.mark.parametrize("operation", [1, 2])
def test_a_log_that_failed_is_broken_for_good(history: Any, operation: int) -> None:
    """What a failed write or sync left on the disk nobody knows, and a later one that succeeds proves nothing."""
    disk = MemoryDisk(Random(operation))
    recovered = recover_state(disk, Machine, segment_bytes=4096, entropy=history.entropy)
    history.write(recovered.log, recovered.machine, history.records[:2])
    disk.fail_at(operation)
    with pytest.raises(StorageError, match="what the disk holds from there on is unknown"):
        recovered.log.append(history.records[2:3], 3)
    before, operations = disk.files(), disk.operations
    for _ in range(3):
        with pytest.raises(StorageError, match="what the disk holds from there on is unknown"):
            recovered.log.append(history.records[2:3], 3)
    assert (disk.files(), disk.operations) == (before, operations)
    disk.crash()
    assert history.recovered_index(disk) in (2, 3)
