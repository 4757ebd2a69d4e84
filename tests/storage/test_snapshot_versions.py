"""Snapshots of every version of the format are read, each with the check that it ends with.

`data/snapshot-N.bin` holds the state that the golden log (tests/core/data) has at index 46, as the version N of the
format had it. It has every kind of row: settings, quotas, ephemerals, containers, ACLs, remembered writes, events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from coordserver.core.model.acl import READ_ACL_UNSAFE
from coordserver.core.model.operations import CreateMode, Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.core.state.ring import EventRing
from coordserver.storage import (
    CorruptionError,
    NewerFormatError,
    SnapshotWriter,
    load_snapshot,
    read_snapshot,
    save_snapshot,
    snapshots,
)
from coordserver.storage.file_header import SNAPSHOT_MAGIC, FileHeader, decode_header, encode_header
from coordserver.storage.snapshot_format import decode_last
from coordserver.testing.memory_disk import MemoryDisk

DATA = Path(__file__).parent / "data"
VERSIONS = (1, 2)
INDEX = 46
DIGEST = 0xBB043C6C192E7023
"""Of the state at that index, from golden.json."""


def golden(version: int, change: Callable[[bytes], bytes] = lambda data: data) -> MemoryDisk:
    """A disk with the golden file of a version."""
    return disk_with(change((DATA / f"snapshot-{version}.bin").read_bytes()))


def disk_with(data: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    file = disk.create("golden", 0)
    file.write_at(0, data)
    file.sync()
    file.close()
    return disk


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_state_of_its_time(version: int) -> None:
    machine = read_snapshot(golden(version), "golden", Machine)
    assert (machine.index, machine.digest()) == (INDEX, DIGEST)
    machine.check_invariants()
    assert machine.tree.quotas.limited == {"/q": None}


def test_the_newest_is_what_is_written_today_to_the_byte() -> None:
    disk = golden(1)
    machine = read_snapshot(disk, "golden", Machine)
    writer = SnapshotWriter(disk, machine.index, machine.history_id, name="again", salt=lambda: b"saltsalt")
    writer.add(machine.snapshot_rows())
    writer.finish()
    assert disk.read("again") == (DATA / "snapshot-2.bin").read_bytes()


def test_one_of_a_later_version_is_refused_by_name() -> None:
    data = (DATA / "snapshot-2.bin").read_bytes()
    header, _ = decode_header("golden", data, SNAPSHOT_MAGIC)
    later = FileHeader(header.magic, header.history_id, header.index, header.chain, header.salt, 3)
    with pytest.raises(NewerFormatError, match="golden: format version 3, this server knows 2"):
        read_snapshot(disk_with(encode_header(later) + data[64:]), "golden", Machine)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_flipped_byte_is_noticed(version: int) -> None:
    size = len((DATA / f"snapshot-{version}.bin").read_bytes())
    disk = golden(version)
    for offset in range(size):
        disk.flip("golden", offset)
        with pytest.raises(CorruptionError):
            read_snapshot(disk, "golden", Machine)
        disk.flip("golden", offset)
    read_snapshot(disk, "golden", Machine)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_truncation_is_noticed(version: int) -> None:
    size = len((DATA / f"snapshot-{version}.bin").read_bytes())
    for length in range(size):
        with pytest.raises(CorruptionError):
            read_snapshot(golden(version, lambda data, length=length: data[:length]), "golden", Machine)  # type: ignore[misc]


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_behind_the_end_are_noticed(version: int) -> None:
    with pytest.raises(CorruptionError, match="bytes behind the last block"):
        read_snapshot(golden(version, lambda data: data + b"\0"), "golden", Machine)


def test_another_number_of_rows_is_noticed(monkeypatch: Any) -> None:
    """Whatever their digest."""
    monkeypatch.setattr(snapshots, "decode_last", lambda *block: (30, decode_last(*block)[1]))
    with pytest.raises(CorruptionError, match="29 rows instead of 30"):
        read_snapshot(golden(2), "golden", Machine)


class Wrong(Machine):
    """One that is not built as it was told: a bug on the way, not the disk's fault, so every checksum is right."""

    spoil: ClassVar[Callable[[Machine], None]]

    @classmethod
    def from_snapshot(cls, rows: Iterable[tuple[Any, ...]]) -> Self:
        machine = super().from_snapshot(rows)
        cls.spoil(machine)
        return machine  # type: ignore[return-value]


def swap(machine: Machine) -> None:
    """Two siblings in the other order."""
    nodes = machine.tree.nodes
    last, before = (nodes.popitem() for _ in range(2))
    nodes.update((last, before))


def forget_last_event(machine: Machine) -> None:
    ring, machine.ring = machine.ring, EventRing()
    machine.ring.floor = ring.floor
    for zxid, events in ring.entries()[:-1]:
        machine.ring.append(zxid, events)


SPOILS: dict[str, Callable[[Machine], None]] = {
    "data": lambda machine: setattr(machine.tree.nodes["/q"], "data", None),
    "version": lambda machine: setattr(machine.tree.nodes["/q"], "version", 7),
    "mzxid": lambda machine: setattr(machine.tree.nodes["/q"], "mzxid", 1),
    "creates": lambda machine: setattr(machine.tree.nodes["/q"], "creates", 99),
    "ttl": lambda machine: setattr(machine.tree.nodes["/q"], "ttl", 5),
    "acl": lambda machine: setattr(machine.tree.nodes["/q"], "acl", READ_ACL_UNSAFE),
    "a znode less": lambda machine: machine.tree.nodes.__delitem__("/q"),
    "order": swap,
    "enforced": lambda machine: setattr(machine.tree.quotas, "enforced", False),
    "outcomes": lambda machine: next(iter(machine.sessions.values())).outcomes.clear(),
    "acked": lambda machine: setattr(next(iter(machine.sessions.values())), "acked", 0),
    "system errors": lambda machine: setattr(machine, "system_errors", 3),
    "zxid": lambda machine: setattr(machine, "zxid", 1 << 40),
    "events": forget_last_event,
}


@pytest.mark.parametrize("what", SPOILS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_state_that_is_not_the_one_written_is_refused(version: int, what: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(Wrong, "spoil", staticmethod(SPOILS[what]), raising=False)
    with pytest.raises(CorruptionError, match="the state's digest is"):
        read_snapshot(golden(version), "golden", Wrong)


def test_more_events_of_one_zxid_than_a_row_holds(history: Any) -> None:
    """A delete_tree has up to 10,000; a client that resumes at its zxid is told all of them."""
    machine = Machine.new(history.history_id)
    paths = ["/d", *(f"/d/{n}" for n in range(150))]
    records = [Record(int(Op.CREATE), 0, 0, 0, 0, (), (path, b"", None, 0, 0)) for path in paths]
    records.append(Record(int(Op.DELETE_TREE), 0, 0, 0, 0, (), ("/d", 100)))
    records.append(Record(int(Op.DELETE_TREE), 0, 0, 0, 0, (), ("/d", 100)))
    records.append(Record(int(Op.CREATE), 0, 0, 0, 0, (), ("/e", b"", None, int(CreateMode.CONTAINER), 0)))
    for index, record in enumerate(records, 1):
        machine.apply(index, record)
    disk = MemoryDisk()
    save_snapshot(disk, machine)
    again = load_snapshot(disk, machine.index, Machine)
    assert [(zxid, len(events)) for zxid, events in again.ring.entries()[-3:]] == [(152, 100), (153, 51), (154, 1)]
    assert again.ring.entries() == machine.ring.entries()
    assert len(again.ring) == len(machine.ring) == 151 + 151 + 1
    assert again.digest() == machine.digest()
