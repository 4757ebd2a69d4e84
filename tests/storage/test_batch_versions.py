"""Both versions of the batch: the directories of both are read and continued, and what a torn tail is in each.

`data/directory-N` holds a directory whose batches are of version N, as the software of its time wrote it: the small
history of conftest.py, a snapshot after its second batch, a seal after its fourth, no seal at its end.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pytest
from naive_log import NaiveLog, batch, started, stored

from coordserver.core.state.machine import Machine
from coordserver.storage import CorruptionError, LogEntry, NewerFormatError, TxnLog, recover_state
from coordserver.storage.batch_format import BATCH_HEADER_BYTES, encode_batch, find_batch_headers
from coordserver.storage.file_header import HEADER_BYTES, LOG_MAGIC, FileHeader, decode_header, encode_header
from coordserver.storage.layout import log_indexes, log_name
from coordserver.storage.record_format import encode_records
from coordserver.testing.memory_disk import MemoryDisk

DATA = Path(__file__).parent / "data"
VERSIONS = (1, 2)
SEGMENT_BYTES = 384
FIRST = log_name(1)


def golden(version: int) -> MemoryDisk:
    """The directory of that version."""
    disk = MemoryDisk(Random(1))
    for path in sorted((DATA / f"directory-{version}").iterdir()):
        disk.put(path.name, path.read_bytes())
    return disk


def versions(disk: MemoryDisk) -> list[int]:
    """Of all batches that are in the log."""
    found: list[int] = []
    for start in log_indexes(disk.names()):
        data = disk.files()[log_name(start)]
        _, seed = decode_header(log_name(start), data, LOG_MAGIC)
        found += [header.version for _, header in find_batch_headers(data, 0, seed)]
    return found


def test_todays_log_is_written_to_the_byte(history: Any) -> None:
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=SEGMENT_BYTES, entropy=history.entropy)
    for number, records in enumerate(history.batches):
        history.write(recovered.log, recovered.machine, records)
        if number == 3:
            recovered.log.seal()
    expected = golden(2).files()
    assert disk.files() == {name: data for name, data in expected.items() if name.startswith("log.")}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_directory_of_every_version_is_recovered(history: Any, version: int) -> None:
    disk = golden(version)
    assert set(versions(disk)) == {version}
    recovered = recover_state(disk, Machine, segment_bytes=SEGMENT_BYTES)
    assert recovered.machine.digest() == history.digests[len(history.records)]
    assert recovered.snapshot_index == 4
    entries = stored(recovered.log)
    assert [entry.payload for entry in entries] == [encode_records(records) for records in history.batches]
    assert [entry.first_index for entry in entries] == [1, 2, 5, 6, 10]
    assert {entry.term for entry in entries} == {1}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("segment_bytes", [SEGMENT_BYTES, 1 << 16])
def test_a_directory_of_every_version_is_continued(history: Any, version: int, segment_bytes: int) -> None:
    """In the segment that was begun with the old version, where it has room."""
    disk = golden(version)
    log = recover_state(disk, Machine, segment_bytes=segment_bytes).log
    naive = NaiveLog(stored(log))
    for tag in range(5):
        naive.entries.append(batch(1 + tag, naive.next_index, 2, 60, tag))
        log.append_entries(naive.entries[-1:])
    disk.crash()
    recovered = recover_state(disk, Machine, segment_bytes=segment_bytes)
    assert stored(recovered.log) == naive.entries
    assert (recovered.log.term, recovered.machine.index) == (5, naive.next_index - 1)
    assert set(versions(disk)) == {version, 2}
    for at in (4, 2):
        recovered.log.truncate(naive.entries[at].first_index)
        disk.crash()
        recovered = recover_state(disk, Machine, segment_bytes=segment_bytes)
        assert stored(recovered.log) == naive.entries[:at]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flip_in_the_last_segment_is_refused_or_loses_only_the_last_batch(history: Any, version: int) -> None:
    disk = golden(version)
    names = [log_name(start) for start in log_indexes(disk.names())]
    for name in names[1:]:  # a start on the snapshot does not read the first
        for offset in range(len(disk.files()[name].rstrip(b"\0"))):
            flipped = golden(version)
            flipped.flip(name, offset)
            if name == names[-1] and offset >= HEADER_BYTES:
                assert recover_state(flipped, Machine, segment_bytes=SEGMENT_BYTES).machine.index == 9
            else:
                with pytest.raises(CorruptionError, match=name):
                    recover_state(flipped, Machine, segment_bytes=SEGMENT_BYTES)


def test_an_older_server_refuses_the_new_batch_by_name() -> None:
    """It reads 36 bytes, with a checksum in the last four, and the version in them."""
    data, _ = encode_batch(batch(3, 9, 2), synced=8, seed=77, chain=5)
    assert crc32(data[:32], 77) == int.from_bytes(data[32:36], "big")
    assert int.from_bytes(data[4:6], "big") == 2


def segment_of(*batches: tuple[LogEntry, int]) -> tuple[bytes, list[int]]:
    """A segment with these batches, each with what it says was synced; and where each begins and the last ends."""
    data = encode_header(FileHeader(LOG_MAGIC, bytes(16), 1, 0, b"saltsalt"))
    _, seed = decode_header(FIRST, data, LOG_MAGIC)
    chain, ends = seed, [len(data)]
    for entry, synced in batches:
        encoded, chain = encode_batch(entry, synced=synced, seed=seed, chain=chain)
        data += encoded
        ends.append(len(data))
    return data, ends


def index_after(data: bytes) -> int | None:
    """The index of the state that a start comes to; None where it is refused."""
    disk = MemoryDisk()
    disk.put(FIRST, data + bytes(4096))
    try:
        return started(disk, 1 << 14).machine.index
    except CorruptionError:
        return None


def seal(index: int) -> LogEntry:
    return LogEntry(1, index, 0, encode_records(()))


@pytest.mark.parametrize(
    ("batches", "after"),
    [
        # Each begun when the one before was synced, as a single server writes: only damage to the last is torn.
        (((batch(1, 1, 2), 0), (batch(1, 3, 1), 2), (batch(1, 4, 3), 3)), (None, None, 3)),
        # Three written together: nothing says that any of them was synced.
        (((batch(1, 1, 2), 0), (batch(1, 3, 1), 0), (batch(1, 4, 3), 0)), (0, 2, 3)),
        # The next write behind them says it of all three.
        (((batch(1, 1, 2), 0), (batch(1, 3, 1), 0), (batch(1, 4, 3), 0), (batch(1, 7, 1), 6)), (None, None, None, 6)),
        # The next one says it of the first two: the third and the fourth are one write.
        (((batch(1, 1, 2), 0), (batch(1, 3, 1), 0), (batch(1, 4, 3), 3), (batch(1, 7, 1), 3)), (None, None, 3, 6)),
        # A seal was synced when the batch of its index says that what is before it was.
        (((batch(1, 1, 2), 0), (seal(3), 2), (batch(1, 3, 1), 2)), (None, None, 2)),
        (((batch(1, 1, 2), 0), (seal(3), 2), (batch(1, 3, 1), 2), (batch(1, 4, 1), 2)), (None, None, 2, 3)),
    ],
)
def test_damage_is_a_torn_tail_above_what_a_later_batch_says_was_synced(
    batches: tuple[tuple[LogEntry, int], ...], after: tuple[int | None, ...]
) -> None:
    data, ends = segment_of(*batches)
    for offset in range(HEADER_BYTES, len(data)):
        flipped = bytearray(data)
        flipped[offset] ^= 0x10
        damaged = sum(end <= offset for end in ends) - 1
        assert index_after(bytes(flipped)) == after[damaged], f"at offset {offset}"


@pytest.mark.parametrize(
    "second",
    [(batch(2, 3, 1), 2), (batch(3, 3, 1), 3), (batch(3, 3, 1), 9)],
)
def test_a_term_that_falls_or_a_batch_that_says_that_it_was_synced_itself_is_refused(
    second: tuple[LogEntry, int],
) -> None:
    data, _ = segment_of((batch(3, 1, 2), 0), second)
    assert index_after(data) is None


@pytest.mark.parametrize("seed", range(150))
def test_batches_that_share_a_sync_are_torn_as_one_write(seed: int) -> None:
    """The power goes before the sync: any sectors of the write may be there, the last ones whole and the first not."""
    random = Random(seed)
    disk = MemoryDisk(random)
    log, naive = started(disk, 1 << 16).log, NaiveLog()
    append(log, naive, [(1, 20), (2, 30)])
    synced = len(naive.entries)
    entries = append(log, naive, [(1, random.randrange(700)) for _ in range(random.randrange(1, 9))], write=False)
    prepared = log.prepare_entries(entries)
    assert prepared is not None
    prepared.file.write_at(prepared.position, prepared.data)
    disk.crash()
    recovered = started(disk, 1 << 16)
    found = stored(recovered.log)
    assert found == naive.entries[: len(found)]
    assert len(found) >= synced
    assert recovered.machine.index == recovered.log.next_index - 1


def append(log: TxnLog, naive: NaiveLog, sizes: list[tuple[int, int]], *, write: bool = True) -> list[LogEntry]:
    """Batches of so many records of such a size, in one write."""
    entries: list[LogEntry] = []
    for records, size in sizes:
        entries.append(batch(1, naive.next_index, records, size))
        naive.entries.append(entries[-1])
    if write:
        log.append_entries(entries)
    return entries


def test_batches_together_are_one_write_and_one_sync() -> None:
    disk = MemoryDisk()
    log, naive = started(disk, 1 << 16).log, NaiveLog()
    before = disk.operations
    append(log, naive, [(1, 20)] * 40)
    assert disk.operations - before == 2
    assert log.statistics().batches == 40
    assert stored(log) == naive.entries


def test_what_does_not_go_on_from_the_log_is_not_appended() -> None:
    disk = MemoryDisk()
    log = started(disk, 1 << 16).log
    log.append_entries([batch(3, 1, 2)])
    before = disk.files()
    for entries, reason in (
        ([batch(3, 4, 1)], "append at index 4, but the log goes on at 3"),
        ([batch(3, 3, 1), batch(3, 3, 1)], "append at index 3, but the log goes on at 4"),
        ([batch(2, 3, 1)], "append in term 2, but the log is in term 3"),
        ([batch(4, 3, 1), batch(3, 4, 1)], "append in term 3, but the log is in term 4"),
        ([seal(3)], "an empty batch among entries"),
    ):
        with pytest.raises(ValueError, match=reason):
            log.append_entries(entries)
    assert disk.files() == before
    assert log.next_index == 3


def test_the_longest_header_is_what_a_batch_takes_beside_its_payload() -> None:
    entry = batch(1, 1, 1)
    data, _ = encode_batch(entry, synced=0, seed=1, chain=1)
    assert len(data) == BATCH_HEADER_BYTES + len(entry.payload)


def test_a_newer_batch_behind_damage_is_refused_as_newer() -> None:
    """Only the newer server knows whether it says that the damaged place was synced."""
    data, ends = segment_of((batch(1, 1, 2), 0), (batch(1, 3, 1), 0))
    _, seed = decode_header(FIRST, data, LOG_MAGIC)
    later = bytearray(data)
    at = ends[1]
    later[at + 4 : at + 6] = (3).to_bytes(2, "big")
    later[at + 32 : at + 36] = crc32(later[at : at + 32], seed).to_bytes(4, "big")
    later[ends[0] + 1] ^= 1
    disk = MemoryDisk()
    disk.put(FIRST, bytes(later) + bytes(4096))
    with pytest.raises(NewerFormatError, match="batch of format 3 follows"):
        started(disk)
