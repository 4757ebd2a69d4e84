"""What a log must hold, as a plain list of entries, and logs on a disk in memory to hold against it."""

from __future__ import annotations

import attrs

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.storage import LogEntry, Recovered, TxnLog, recover_state
from coordserver.storage.record_format import decode_records, encode_records
from coordserver.testing.memory_disk import MemoryDisk

SEGMENT_BYTES = 600
HISTORY = bytes(range(16))


def started(disk: MemoryDisk, segment_bytes: int = SEGMENT_BYTES) -> Recovered[Machine]:
    """The log on the disk, with the same ids and salts each time."""
    return recover_state(disk, Machine, segment_bytes=segment_bytes, entropy=lambda size: HISTORY[:size])


def batch(term: int, first_index: int, records: int, size: int = 10, tag: int = 0) -> LogEntry:
    """An entry of creates that fail but for the first; `tag` tells two of the same index apart."""
    made = [Record(int(Op.CREATE), 0, 0, 0, tag, (), ("/a", bytes(size), None, 0, 0))] * records
    return LogEntry(term, first_index, records, encode_records(made))


def stored(log: TxnLog, begins: int = 1) -> list[LogEntry]:
    """All entries of the log from an index on."""
    found: list[LogEntry] = []
    index = begins
    while index < log.next_index:
        found += log.entries(index, log.next_index, 200)
        index = found[-1].next_index
    return found


@attrs.define
class NaiveLog:
    """The list."""

    entries: list[LogEntry] = attrs.Factory(list)

    @property
    def next_index(self) -> int:
        """The index that the next record gets."""
        return self.entries[-1].next_index if self.entries else 1

    @property
    def term(self) -> int:
        """The term of the last record."""
        return self.entries[-1].term if self.entries else 1

    def read(self, first: int, last: int, max_bytes: int) -> list[LogEntry]:
        """What `entries` must give."""
        wanted = [entry for entry in self.entries if entry.next_index > first and entry.first_index <= last]
        return [entry for at, entry in enumerate(wanted) if not at or _size(wanted[: at + 1]) <= max_bytes]

    def cut(self, first_index: int) -> bool:
        """Cut there, if a batch begins there or the log ends there."""
        if first_index not in {entry.first_index for entry in self.entries} | {self.next_index}:
            return False
        self.entries = [entry for entry in self.entries if entry.first_index < first_index]
        return True

    def state(self) -> Machine:
        """What all entries lead to."""
        machine = Machine.new(HISTORY)
        for entry in self.entries:
            for index, record in enumerate(decode_records(entry.payload), entry.first_index):
                machine.apply(index, record)
        return machine


def _size(entries: list[LogEntry]) -> int:
    return sum(len(entry.payload) for entry in entries)
