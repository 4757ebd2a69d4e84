"""Reading the log while it is written, and cutting it, against a plain list of entries."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_log import SEGMENT_BYTES, NaiveLog, batch, started, stored

from coordserver.core.state.machine import Machine
from coordserver.storage import (
    CorruptionError,
    LogEndsError,
    LogPurgedError,
    Recovery,
    StorageError,
    TruncationError,
    TxnLog,
    purge_log,
    save_snapshot,
)
from coordserver.storage.file_header import HEADER_BYTES
from coordserver.storage.layout import log_indexes, log_name
from coordserver.storage.record_format import decode_records
from coordserver.testing.memory_disk import MemoryDisk, MemoryReader

BATCHES = ((1, 10), (3, 40), (1, 0), (2, 200), (1, 900), (5, 5), (1, 30))

"""Records and the size of each."""

steps = st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(st.integers(1, 3), st.integers(0, 300)), min_size=1, max_size=4)),
    st.tuples(st.just("append"), st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60)), min_size=1, max_size=4)),
    st.tuples(st.just("rise"), st.integers(1, 3)),
    st.tuples(st.just("seal"), st.none()),
    st.tuples(st.just("cut"), st.integers(0, 40)),
    st.tuples(st.just("snapshot"), st.booleans()),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("read"), st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 900))),
)


class Pair:
    """A log and the list that it must be like."""

    def __init__(self) -> None:
        self.disk = MemoryDisk(Random(1))
        self.log = started(self.disk).log
        self.naive = NaiveLog()
        self.snapshot = 0
        self.term = 1
        self.tag = 0

    @property
    def begins(self) -> int:
        """The first index that the log has not purged."""
        return log_indexes(self.disk.names())[0]

    def step(self, kind: str, value: Any) -> None:
        """Do it to both, and compare what they hold."""
        getattr(self, f"_{kind}")(value)
        assert self.log.next_index == self.naive.next_index
        assert self.log.term in {self.naive.term, 1}  # 1 where only a snapshot has the last record
        assert stored(self.log, self.begins) == [e for e in self.naive.entries if e.first_index >= self.begins]

    def _append(self, sizes: list[tuple[int, int]]) -> None:
        entries = []
        index = self.log.next_index
        for records, size in sizes:
            self.tag += 1
            entries.append(batch(max(self.term, self.naive.term), index, records, size, self.tag))
            index = entries[-1].next_index
        self.log.append_entries(entries)
        self.naive.entries += entries

    def _rise(self, term: int) -> None:
        self.term = max(term, self.naive.term)

    def _seal(self, _: None) -> None:
        self.log.seal()

    def _cut(self, at: int) -> None:
        first_index = 1 + at % (self.naive.next_index + 1)
        before = self.disk.files()
        allowed = first_index > self.snapshot or first_index == self.naive.next_index
        if allowed and first_index >= self.begins and self.naive.cut(first_index):
            self.log.truncate(first_index)
        else:
            with pytest.raises(TruncationError, match=f"cannot cut the log at index {first_index}"):
                self.log.truncate(first_index)
            assert self.disk.files() == before

    def _snapshot(self, purge: bool) -> None:
        state = self.naive.state()
        save_snapshot(self.disk, state)
        self.snapshot = state.index
        if purge:
            purge_log(self.disk, state.index + 1)

    def _start(self, crash: bool) -> None:
        self.log.close()
        if crash:
            self.disk.crash()
        else:
            self.disk.restart()
        recovered = started(self.disk)
        assert recovered.machine.digest() == self.naive.state().digest()
        self.log = recovered.log

    def _read(self, wanted: tuple[int, int, int]) -> None:
        first = 1 + wanted[0] % (self.naive.next_index + 1)
        last, max_bytes = first + wanted[1], wanted[2]
        if first >= self.naive.next_index:
            with pytest.raises(LogEndsError) as ended:
                self.log.entries(first, last, max_bytes)
            assert (ended.value.index, ended.value.ends) == (first, self.naive.next_index - 1)
        elif first < self.begins:
            with pytest.raises(LogPurgedError) as purged:
                self.log.entries(first, last, max_bytes)
            assert (purged.value.index, purged.value.begins) == (first, self.begins)
        else:
            assert self.log.entries(first, last, max_bytes) == self.naive.read(first, last, max_bytes)


@settings(max_examples=250, deadline=None)
@given(st.lists(steps, max_size=14))
def test_a_log_is_like_a_list_of_entries(drawn: list[tuple[str, Any]]) -> None:
    pair = Pair()
    for kind, value in drawn:
        pair.step(kind, value)
    pair.step("start", True)


def filled(disk: MemoryDisk, segment_bytes: int = SEGMENT_BYTES) -> tuple[TxnLog, NaiveLog]:
    """A log of seven batches in several segments, and the same as a list."""
    log, naive = started(disk, segment_bytes).log, NaiveLog()
    for tag, (records, size) in enumerate(BATCHES):
        naive.entries.append(batch(1 + tag // 3, naive.next_index, records, size, tag))
        log.append_entries(naive.entries[-1:])
    return log, naive


@pytest.mark.parametrize("segment_bytes", [200, SEGMENT_BYTES, 1 << 16])
def test_every_range_within_every_bound(segment_bytes: int) -> None:
    log, naive = filled(MemoryDisk(), segment_bytes)
    for first in range(1, naive.next_index):
        for last in range(first, naive.next_index + 2):
            for max_bytes in (0, 60, 300, 1_500, 1 << 20):
                assert log.entries(first, last, max_bytes) == naive.read(first, last, max_bytes)
    assert [entry.term for entry in stored(log)] == [1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(("first", "last"), [(0, 3), (-1, 3), (3, 2)])
def test_an_empty_range_is_refused(first: int, last: int) -> None:
    log, _ = filled(MemoryDisk())
    with pytest.raises(ValueError, match=f"entries from index {first} to {last}"):
        log.entries(first, last)


def test_what_is_written_and_not_synced_is_not_read() -> None:
    """The page cache has it whole, and yet it may never reach the disk."""
    disk = MemoryDisk()
    log, naive = filled(disk)
    entry = batch(3, naive.next_index, 2)
    prepared = log.prepare_entries([entry])
    assert prepared is not None
    prepared.file.write_at(prepared.position, prepared.data)
    with pytest.raises(LogEndsError, match=f"index {entry.first_index} is not in the log, which ends at"):
        log.entries(entry.first_index, entry.first_index)
    assert log.entries(naive.next_index - 1, entry.next_index) == naive.entries[-1:]
    prepared.file.sync()
    log.finish(prepared, 0.0)
    assert log.entries(entry.first_index, entry.first_index) == [entry]


def test_damage_is_noticed_when_it_is_read() -> None:
    disk = MemoryDisk()
    log, naive = filled(disk, 1 << 16)
    used = log.statistics().position
    for offset in range(HEADER_BYTES, used):
        disk.flip(log_name(1), offset)
        with pytest.raises(CorruptionError, match=f"{log_name(1)}: corrupt at offset"):
            stored(log)
        disk.flip(log_name(1), offset)
    assert stored(log) == naive.entries


def test_the_end_of_a_long_segment_is_found_at_once_the_second_time(monkeypatch: Any) -> None:
    disk = MemoryDisk()
    log = started(disk, 1 << 22).log
    for index in range(1, 1_001):
        log.append_entries([batch(1, index, 1, 2_000)])
    lengths: list[int] = []
    read = MemoryReader.read

    def counted(self: MemoryReader, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(self, offset, length)

    monkeypatch.setattr(MemoryReader, "read", counted)
    read_bytes: list[int] = []
    for index in (1_000, 999, 1_000, 500):
        lengths.clear()
        assert [entry.first_index for entry in log.entries(index, index)] == [index]
        read_bytes.append(sum(lengths))
    assert read_bytes[0] > 1_900_000
    assert max(read_bytes[1:]) < 200_000


class CutMeanwhile(MemoryDisk):
    """One whose log is cut, and goes on otherwise, when a segment is opened to be read."""

    meanwhile: Callable[[], None] | None = None

    def open(self, name: str) -> MemoryReader:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().open(name)


@pytest.mark.parametrize("cut", [0, 2, 4, 6])
@pytest.mark.parametrize("at", range(7))
def test_a_cut_meanwhile_is_as_if_it_had_come_before(at: int, cut: int) -> None:
    disk = CutMeanwhile()
    log, naive = filled(disk)
    index = naive.entries[at].first_index
    before = stored(log)

    def change() -> None:
        first_index = naive.entries[cut].first_index
        naive.cut(first_index)
        log.truncate(first_index)
        for tag in (100, 101):
            naive.entries.append(batch(9, naive.next_index, 1, 30, tag))
            log.append_entries(naive.entries[-1:])

    disk.meanwhile = change
    try:
        found = log.entries(index, 100)
    except LogEndsError:
        assert index >= naive.next_index
    else:
        assert found == naive.read(index, 100, 1 << 20)
    assert stored(log) == naive.entries != before


def test_a_purge_meanwhile_is_as_if_it_had_come_before() -> None:
    disk = CutMeanwhile()
    log, naive = filled(disk)
    begins = log_indexes(disk.names())[-1]
    disk.meanwhile = lambda: void(purge_log(disk, begins))
    with pytest.raises(LogPurgedError, match=f"index 1 is not in the log, which begins at index {begins}"):
        log.entries(1, 1)
    assert log.entries(begins, begins) == naive.read(begins, begins, 1 << 20)


def void(_: object) -> None:
    """Nothing."""


def test_a_segment_that_somebody_took_away_is_told() -> None:
    disk = MemoryDisk()
    log, naive = filled(disk)
    second = log_indexes(disk.names())[1]
    disk.remove(log_name(second))
    with pytest.raises(CorruptionError, match="no whole header"):
        log.entries(second, second)
    for name in [name for name in disk.names() if name.startswith("log.")]:
        disk.remove(name)
    with pytest.raises(CorruptionError, match="no log segment is left"):
        log.entries(naive.next_index - 1, naive.next_index)


def test_a_disk_that_fails_is_told() -> None:
    disk = MemoryDisk()
    log, naive = filled(disk)
    before = disk.operations
    log.entries(1, naive.next_index)
    for operation in range(1, disk.operations - before + 1):
        disk.fail_at(operation)
        with pytest.raises(StorageError, match="cannot read the log: Input/output error"):
            log.entries(1, naive.next_index)
    disk.heal()
    assert stored(log) == naive.entries
    log.append_entries([batch(9, naive.next_index, 1)])  # reading does not break it


def test_recovery_gives_the_snapshot_and_a_log_to_read() -> None:
    """Whoever applies the records himself: the state stays at the snapshot, the log has the rest."""
    disk = MemoryDisk()
    log, naive = filled(disk)
    expected = naive.state().digest()
    early = NaiveLog(naive.entries[:3])
    save_snapshot(disk, early.state())
    log.close()
    disk.restart()
    recovery = Recovery(disk, Machine, segment_bytes=SEGMENT_BYTES)
    before = disk.files()
    assert (recovery.state.index, recovery.snapshot_index) == (early.next_index - 1, early.next_index - 1)
    assert disk.files() == before
    recovered = recovery.open()
    assert recovered.machine.index == early.next_index - 1
    assert recovered.next_index == recovered.log.next_index == naive.next_index
    for entry in recovered.log.entries(early.next_index, naive.next_index):
        for index, record in enumerate(decode_records(entry.payload), entry.first_index):
            recovered.machine.apply(index, record)
    assert recovered.machine.digest() == expected
