"""States that come into a directory from outside: what they keep, what they end, and crashes in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from coordserver.core.state.machine import Machine
from coordserver.storage import StorageError, read_state, recover_state, save_snapshot
from coordserver.storage.backup import Installed, restore
from coordserver.storage.backup_check import check_directory
from coordserver.testing.memory_disk import MemoryDisk

SEGMENT_BYTES = 4096
WALL_MS = 1_800_000_000_000


def filled(history: Any, records: int = -1) -> tuple[MemoryDisk, Machine]:
    """A directory with a snapshot, and its state; the last record ends the one session."""
    disk = MemoryDisk(Random(1))
    recovered = recover_state(disk, Machine, segment_bytes=SEGMENT_BYTES, entropy=history.entropy)
    for record in history.records[:records]:
        history.write(recovered.log, recovered.machine, (record,))
        if recovered.machine.index == 6:
            save_snapshot(disk, recovered.machine)
    recovered.log.seal()
    recovered.log.close()
    return disk, recovered.machine


def put(disk: MemoryDisk, state: Machine) -> Installed:
    return restore(disk, state, wall_ms=WALL_MS, entropy=lambda n: b"\xee" * n, segment_bytes=SEGMENT_BYTES)


def started(disk: MemoryDisk) -> Machine:
    recovered = recover_state(disk, Machine, segment_bytes=SEGMENT_BYTES)
    recovered.log.close()
    recovered.machine.check_invariants()
    return recovered.machine


def test_a_restored_tree_begins_a_new_history_without_sessions(history: Any) -> None:
    _, state = filled(history)
    before = {path: (node.data, node.acl, node.version) for path, node in state.tree.nodes.items() if not node.owner}
    assert state.tree.ephemerals
    seen = state.zxid
    disk = MemoryDisk()
    told = put(disk, state)
    machine = started(disk)
    assert (told.sessions_ended, told.set_aside) == (1, ())
    assert machine.history_id == told.history_id == b"\xee" * 16 != history.history_id
    assert {path: (node.data, node.acl, node.version) for path, node in machine.tree.nodes.items()} == before
    assert machine.sessions == machine.tree.ephemerals == {}
    assert machine.zxid == machine.ring.floor == 1 << 32 > seen
    assert machine.ring.about(seen, "/", below=True) is None


def test_zxids_go_on_above_those_of_the_history_that_is_replaced(history: Any) -> None:
    disk, newer = filled(history)
    newer.zxid = 5 << 32 | 7
    newer.index += 1
    save_snapshot(disk, newer)
    _, state = filled(history, 4)
    # The snapshot is beyond its log, so that a start is refused; its zxid counts all the same.
    with pytest.raises(StorageError):
        read_state(disk, Machine)
    assert put(disk, state).zxid == 6 << 32


def test_what_was_there_is_set_aside_and_the_log_goes_on(history: Any) -> None:
    disk, _ = filled(history)
    names = [name for name in disk.names() if "." in name]
    _, state = filled(history, 3)
    told = put(disk, state)
    assert [name.partition(".before-")[0] for name in told.set_aside] == sorted(names, reverse=True)
    recovered = recover_state(disk, Machine, segment_bytes=SEGMENT_BYTES)
    history.write(recovered.log, recovered.machine, history.records[:2])
    recovered.log.close()
    assert started(disk).digest() == recovered.machine.digest()
    assert check_directory(disk).sound


@pytest.mark.parametrize("damage", [False, True])
@pytest.mark.parametrize("end", [MemoryDisk.crash, MemoryDisk.restart])
def test_a_restore_that_is_cut_short_is_done_or_not_or_refused(
    history: Any, damage: bool, end: Callable[[MemoryDisk], None]
) -> None:
    """At every operation of the disk, with every kind of end: never another tree than the one or the other, and never
    an empty one.
    """
    old_digest, outcomes = filled(history)[1].digest(), set()
    for operation in range(1, 60):
        disk, _ = filled(history)
        if damage:
            disk.flip("log.0000000000000001", 100)
        _, state = filled(history, 4)
        wanted = sorted(path for path, node in state.tree.nodes.items() if not node.owner)
        disk.fail_at(operation, repeat=True)
        try:
            put(disk, state)
        except (StorageError, OSError):
            pass
        else:
            break
        end(disk)
        try:
            machine = started(disk)
        except StorageError:
            outcomes.add("refused")
            again = filled(history, 4)[1]
            put(disk, again)
            machine = started(disk)
        if machine.history_id == history.history_id:
            outcomes.add("old")
            assert machine.digest() == old_digest
        else:
            outcomes.add("new")
            assert sorted(machine.tree.nodes) == wanted
    else:
        pytest.fail("the restore never succeeds")
    assert {"refused", "new"} <= outcomes
    assert ("old" in outcomes) is not damage


def test_check_names_the_damaged_file(history: Any) -> None:
    disk, _ = filled(history)
    report = check_directory(disk)
    assert report.sound, report
    assert [file.name.partition(".")[0] for file in report.files] == ["snapshot", "log"]
    before = disk.files()
    for name, offset in (("snapshot.0000000000000006", 200), ("log.0000000000000001", 120)):
        disk.flip(name, offset)
        report = check_directory(disk)
        assert not report.sound
        assert [file.name for file in report.files if file.fault] == [name]
        disk.flip(name, offset)
    assert disk.files() == before


def test_check_tells_what_a_start_would_do(history: Any) -> None:
    disk, _ = filled(history)
    disk.flip("log.0000000000000001", 120)
    report = check_directory(disk)
    assert "acknowledged writes are damaged" in report.refusal
    disk.flip("log.0000000000000001", 120)
    used = len(disk.files()["log.0000000000000001"].rstrip(b"\0"))
    disk.put("log.0000000000000001", disk.files()["log.0000000000000001"][: used - 5])
    report = check_directory(disk)
    assert report.sound
    assert any("torn tail" in line for line in report.recovery)
    disk.put("snapshot.0000000000000009.tmp", b"half")
    assert any("unfinished" in file.about for file in check_directory(disk).files)
    disk.remove("log.0000000000000001")
    assert "the log was removed" in check_directory(disk).refusal


def test_check_finds_a_chain_that_is_broken(history: Any) -> None:
    """Two segments, each whole, that do not belong together."""
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=400, entropy=history.entropy)
    for record in history.records:
        history.write(recovered.log, recovered.machine, (record,))
    recovered.log.close()
    other = MemoryDisk()
    again = recover_state(
        other, Machine, segment_bytes=400, entropy=lambda n: history.entropy(n) if n == 16 else bytes(n)
    )
    for record in history.records:
        history.write(again.log, again.machine, (record,))
    names = [name for name in disk.names() if name.startswith("log.")]
    assert len(names) > 2
    assert check_directory(disk).sound
    disk.put(names[1], other.files()[names[1]])
    report = check_directory(disk)
    assert [file.name for file in report.files if file.fault] == [names[1], names[2]]
