"""Cutting the log: at every batch, and with the disk failing at every operation of it."""

from __future__ import annotations

import errno
from itertools import count
from random import Random

import pytest
from naive_log import SEGMENT_BYTES, NaiveLog, batch, started, stored

from coordserver.storage import DiskSpaceError, StorageError, TruncationError, TxnLog, save_snapshot
from coordserver.storage.layout import log_indexes
from coordserver.testing.memory_disk import MemoryDisk

BATCHES = ((1, 10), (3, 40), (1, 200), (2, 100), (1, 300), (5, 30), (1, 30), (2, 120))


def filled(disk: MemoryDisk, *, seal: bool = False) -> tuple[TxnLog, NaiveLog]:
    """Eight batches in four segments. `seal`: an empty batch behind each."""
    log, naive = started(disk).log, NaiveLog()
    for tag, (records, size) in enumerate(BATCHES):
        naive.entries.append(batch(1 + tag // 3, naive.next_index, records, size, tag))
        log.append_entries(naive.entries[-1:])
        if seal:
            log.seal()
    assert len(log_indexes(disk.names())) >= 4
    return log, naive


def go_on(log: TxnLog, naive: NaiveLog) -> None:
    """What another leader has in place of what was cut off, in a higher term."""
    for tag in (100, 101, 102):
        entry = batch(7, naive.next_index, 2, 50, tag)
        log.append_entries([entry])
        naive.entries.append(entry)


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("at", range(len(BATCHES)))
def test_a_cut_at_every_batch(at: int, again: bool, seal: bool) -> None:
    disk = MemoryDisk(Random(at))
    log, naive = filled(disk, seal=seal)
    first_index = naive.entries[at].first_index
    naive.cut(first_index)
    log.truncate(first_index)
    assert (log.next_index, log.term, log.sealed) == (first_index, naive.term, True)
    if again:
        go_on(log, naive)
    assert stored(log) == naive.entries
    disk.crash()
    recovered = started(disk)
    assert recovered.machine.digest() == naive.state().digest()
    assert stored(recovered.log) == naive.entries
    assert recovered.log.term == naive.term


def test_cut_again_and_again() -> None:
    disk = MemoryDisk(Random(1))
    log, naive = filled(disk)
    for at in (7, 5, 6, 2, 2, 0, 0):
        first_index = naive.entries[at].first_index
        naive.cut(first_index)
        log.truncate(first_index)
        go_on(log, naive)
        assert stored(log) == naive.entries
    disk.crash()
    assert stored(started(disk).log) == naive.entries


def test_where_no_batch_begins_nothing_is_cut() -> None:
    disk = MemoryDisk()
    log, naive = filled(disk)
    before = disk.files()
    begins = {entry.first_index for entry in naive.entries}
    for index in range(-1, naive.next_index + 3):
        if index in begins:
            continue
        if index == naive.next_index:
            log.truncate(index)
        else:
            with pytest.raises(TruncationError, match=f"cannot cut the log at index {index}: "):
                log.truncate(index)
    assert disk.files() == before
    go_on(log, naive)
    assert stored(log) == naive.entries


@pytest.mark.parametrize("kept", range(1, len(BATCHES) + 1))
def test_what_a_snapshot_has_is_not_cut_off(kept: int) -> None:
    """A start on that snapshot would be refused: the log would end before it."""
    disk = MemoryDisk()
    log, naive = filled(disk)
    early = NaiveLog(naive.entries[:kept])
    save_snapshot(disk, early.state())
    before = disk.files()
    for entry in early.entries:
        with pytest.raises(TruncationError, match=f"snapshot.{early.next_index - 1:016x} has the state after index"):
            log.truncate(entry.first_index)
    assert disk.files() == before
    log.truncate(early.next_index)
    disk.crash()
    recovered = started(disk)
    assert recovered.machine.index == recovered.snapshot_index == early.next_index - 1
    assert stored(recovered.log) == early.entries


def test_without_room_nothing_is_changed_and_it_may_be_tried_again() -> None:
    disk = MemoryDisk(Random(1), capacity_bytes=1 << 20)
    log, naive = filled(disk)
    before = disk.files()
    for at in (6, 1):
        first_index = naive.entries[at].first_index
        disk.put("filler", bytes(disk.free() - SEGMENT_BYTES // 2))
        for _ in range(2):
            with pytest.raises(DiskSpaceError, match="no room for a log segment"):
                log.truncate(first_index)
        assert {name: data for name, data in disk.files().items() if name != "filler"} == before
        assert stored(log) == naive.entries
        disk.remove("filler")
    naive.cut(first_index)
    log.truncate(first_index)
    go_on(log, naive)
    assert stored(log) == naive.entries


@pytest.mark.parametrize("end", ["crash", "restart"])
@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("at", range(len(BATCHES)))
def test_failing_at_every_operation_of_a_cut(at: int, code: int, repeat: bool, end: str) -> None:
    """A start always succeeds. It finds what is before the cut, and what was acknowledged behind it; where the cut did
    not return, it may find more of the old log, whole batches up to some place.
    """
    for operation in count(1):
        disk = MemoryDisk(Random(operation))
        log, old = filled(disk)
        new = NaiveLog(list(old.entries))
        first_index = old.entries[at].first_index
        new.cut(first_index)
        cut = False
        begun = disk.operations
        disk.fail_at(operation, code, repeat=repeat)
        try:
            log.truncate(first_index)
            cut = True
            go_on(log, new)
        except StorageError:
            pass
        untouched = disk.operations - begun < operation
        getattr(disk, end)()
        found = stored(started(disk).log)
        if cut:
            assert found[: len(new.entries)] == new.entries, f"lost at operation {operation}"
            assert all(entry.term == 7 for entry in found[at:])
        else:
            assert found == old.entries[: len(found)], f"not what it was, at operation {operation}"
            assert len(found) >= at
        again = started(restarted(disk))
        assert stored(again.log) == found
        if untouched:
            break
    assert operation > 12


def restarted(disk: MemoryDisk) -> MemoryDisk:
    """The disk, for another process."""
    disk.restart()
    return disk


def test_every_end_that_a_crash_leaves_is_one_between_two_segments() -> None:
    """The segments behind the cut go newest first: what is left is the log as it once was."""
    ends: set[int] = set()
    for seed in range(200):
        disk = MemoryDisk(Random(seed))
        log, naive = filled(disk)
        disk.fail_at(1 + seed % 30)
        try:
            log.truncate(1)
        except StorageError:
            disk.crash()
            ends.add(started(disk).log.next_index)
    assert ends == {1, *log_indexes(name for name in disk_names()), naive.next_index}


def disk_names() -> list[str]:
    """The segments of the filled log."""
    disk = MemoryDisk()
    filled(disk)
    return disk.names()


def test_a_cut_that_failed_on_its_way_leaves_a_log_that_is_broken_for_good() -> None:
    refusals: set[str] = set()
    for operation in count(1):
        disk = MemoryDisk(Random(1))
        log, naive = filled(disk)
        disk.fail_at(operation)
        try:
            log.truncate(naive.entries[2].first_index)
        except StorageError as error:
            refusal = str(error)
        else:
            break
        disk.heal()
        refusals.add(refusal.split(":", maxsplit=1)[0])
        if refusal.startswith("cannot cut the log at index"):
            for act in (lambda log=log: log.truncate(1), lambda log=log: go_on(log, NaiveLog())):  # type: ignore[misc]
                with pytest.raises(StorageError, match="cannot cut the log at index"):
                    act()
        else:  # it was only to be read
            go_on(log, naive)
            assert stored(log) == naive.entries
    assert len(refusals) == 2
