"""Recovery: what a crash leaves is repaired, what a crash cannot leave is refused."""

from __future__ import annotations

import logging
from random import Random
from typing import Any
from zlib import crc32

import pytest

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.storage import CorruptionError, NewerFormatError, StorageError, recover, recover_state, save_snapshot
from coordserver.storage.batch_format import BATCH_HEADER_BYTES, LogEntry, encode_batch
from coordserver.storage.file_header import HEADER_BYTES, LOG_MAGIC, FileHeader, decode_header, encode_header
from coordserver.storage.layout import log_name, snapshot_name
from coordserver.storage.record_format import encode_records
from coordserver.testing.memory_disk import MemoryDisk

FIRST = log_name(1)


def written(history: Any, *, segment_bytes: int = 4096, sealed: bool = False) -> tuple[MemoryDisk, list[int]]:
    """A disk with the history in its log, and where each batch ends in the first segment."""
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=segment_bytes, entropy=history.entropy)
    ends = [HEADER_BYTES]
    for batch in history.batches:
        history.write(recovered.log, recovered.machine, batch)
        ends.append(recovered.log.statistics().position)
    if sealed:
        recovered.log.seal()
    disk.restart()
    return disk, ends


def copy(files: dict[str, bytes]) -> MemoryDisk:
    """A disk on which these files have always been."""
    disk = MemoryDisk()
    for name, data in files.items():
        disk.put(name, data)
    return disk


def index_at(history: Any, ends: list[int], size: int) -> int:
    """The last index that is whole in the first `size` bytes of the log."""
    whole = sum(end <= size for end in ends) - 1
    return sum(len(batch) for batch in history.batches[:whole])


def test_an_empty_directory_begins_a_new_history(history: Any) -> None:
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=4096, entropy=history.entropy)
    assert (recovered.machine.index, recovered.next_index) == (0, 1)
    assert recovered.machine.history_id == history.history_id
    assert disk.names() == [FIRST]
    assert len(recovered.report) == 1
    disk.restart()
    assert recover(disk, segment_bytes=4096).machine.history_id == history.history_id


def test_the_log_alone_gives_the_state_back(history: Any) -> None:
    disk, _ = written(history)
    assert history.recovered_index(disk) == len(history.records)


def test_a_state_recovered_goes_on_and_recovers_again(history: Any) -> None:
    disk = MemoryDisk()
    for batch in history.batches:
        recovered = recover(disk, segment_bytes=4096)
        history.write(recovered.log, recovered.machine, batch)
        expected = recovered.machine.digest()
        disk.crash()
        again = recover(disk, segment_bytes=4096)
        assert again.machine.digest() == expected
        disk.restart()


def test_segments_follow_each_other_over_snapshots(history: Any) -> None:
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=256, entropy=history.entropy)
    for batch in history.batches:
        history.write(recovered.log, recovered.machine, batch)
        save_snapshot(disk, recovered.machine)
    assert len([name for name in disk.names() if name.startswith("log.")]) > 2
    disk.crash()
    assert history.recovered_index(disk) == len(history.records)


def test_a_log_cut_at_any_byte_gives_what_was_whole_there(history: Any) -> None:
    disk, ends = written(history)
    files = disk.files()
    for size in range(HEADER_BYTES, ends[-1] + 1):
        for zeros in (0, 4096 - size):
            cut = copy({FIRST: files[FIRST][:size] + bytes(zeros)})
            index = history.recovered_index(cut)
            # A payload may end in zero bytes, and the preallocated file reads as zeros.
            assert index == index_at(history, ends, size) or (zeros and index > index_at(history, ends, size))
            assert history.recovered_index(cut) == index


def test_a_log_cut_inside_its_header_is_refused(history: Any) -> None:
    disk, _ = written(history)
    data = disk.files()[FIRST]
    for size in range(HEADER_BYTES):
        with pytest.raises(CorruptionError, match=FIRST):
            recover(copy({FIRST: data[:size]}))


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80, 0xFF])
def test_a_flip_at_any_byte_is_refused_or_loses_only_the_last_batch(history: Any, mask: int) -> None:
    disk, ends = written(history)
    data = disk.files()[FIRST]
    last_start = ends[-2]
    for offset in range(ends[-1]):
        flipped = copy({FIRST: data})
        flipped.flip(FIRST, offset, mask)
        before = flipped.files()
        if offset < last_start:
            with pytest.raises(CorruptionError, match=FIRST):
                recover(flipped, segment_bytes=4096)
            assert flipped.files() == before
        else:
            assert history.recovered_index(flipped) == index_at(history, ends, last_start)


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_a_sealed_log_loses_nothing_by_any_flip(history: Any, mask: int) -> None:
    disk, ends = written(history, sealed=True)
    data = disk.files()[FIRST]
    for offset in range(4096):
        flipped = copy({FIRST: data})
        flipped.flip(FIRST, offset, mask)
        try:
            assert history.recovered_index(flipped) == len(history.records)
            assert offset >= ends[-1]
        except CorruptionError:
            assert offset < ends[-1]


def test_a_flip_in_an_earlier_segment_is_refused_even_in_its_last_batch(history: Any) -> None:
    disk, _ = written(history, segment_bytes=256)
    files = disk.files()
    names = sorted(files)
    assert len(names) > 2
    for name in names[:-1]:
        for offset in range(len(files[name].rstrip(b"\0"))):
            flipped = copy(files)
            flipped.flip(name, offset)
            with pytest.raises(CorruptionError, match=name):
                recover(flipped, segment_bytes=256)


def test_a_torn_tail_is_cut_off_with_one_line(history: Any, caplog: pytest.LogCaptureFixture) -> None:
    disk, ends = written(history)
    torn = copy({FIRST: disk.files()[FIRST][: ends[-1] - 3]})
    with caplog.at_level(logging.WARNING, "coordserver.storage"):
        recovered = recover(torn, segment_bytes=4096)
    lost = ends[-1] - 3 - ends[-2]
    index = index_at(history, ends, ends[-2])
    line = f"{FIRST}: torn tail cut off: {lost} bytes at offset {ends[-2]}, behind index {index}"
    assert [message.startswith(line) for message in caplog.messages] == [True]
    assert caplog.messages[0] in recovered.report
    torn.restart()
    caplog.clear()
    recover(torn, segment_bytes=4096)
    assert not caplog.messages


def test_corruption_says_where_and_what_to_do(history: Any) -> None:
    disk, ends = written(history)
    disk.flip(FIRST, ends[1] + BATCH_HEADER_BYTES + 2)
    with pytest.raises(CorruptionError) as caught:
        recover(disk)
    text = str(caught.value)
    assert text.startswith(f"{FIRST}: corrupt at offset {ends[1]}, index 2: ")
    assert f"follows at offset {ends[2]}" in text
    assert "backup" in text
    assert "\n" not in text


def test_a_missing_batch_is_refused(history: Any) -> None:
    disk, ends = written(history)
    data = disk.files()[FIRST]
    without = data[: ends[1]] + data[ends[2] :]
    with pytest.raises(CorruptionError, match="a batch is missing or was exchanged"):
        recover(copy({FIRST: without}))


def test_a_batch_zeroed_out_is_refused_while_one_follows(history: Any) -> None:
    disk, ends = written(history)
    data = disk.files()[FIRST]
    zeroed = data[: ends[1]] + bytes(ends[2] - ends[1]) + data[ends[2] :]
    with pytest.raises(CorruptionError, match=f"offset {ends[1]}"):
        recover(copy({FIRST: zeroed}))


def test_batches_of_the_same_index_cannot_stand_for_each_other(history: Any) -> None:
    """Two logs of one history, as after a careless copy: a batch of one does not fit into the other."""
    disk, ends = written(history)
    other = MemoryDisk(Random(1))
    recovered = recover_state(other, Machine, segment_bytes=4096, entropy=history.entropy)
    history.write(recovered.log, recovered.machine, [history.records[0]._replace(wall_ms=1_700_000_000_001)])
    history.write(recovered.log, recovered.machine, history.batches[1])
    data = disk.files()[FIRST]
    mixed = data[: ends[1]] + other.files()[FIRST][ends[1] : ends[2]] + data[ends[2] :]
    with pytest.raises(CorruptionError, match="chain"):
        recover(copy({FIRST: mixed}))


def test_a_missing_segment_is_refused(history: Any) -> None:
    disk, _ = written(history, segment_bytes=256)
    files = disk.files()
    names = sorted(files)
    for name in names[:-1]:
        with pytest.raises(CorruptionError):
            recover(copy({other: data for other, data in files.items() if other != name}))


def test_a_lost_last_segment_is_noticed_when_a_snapshot_is_newer(history: Any) -> None:
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=256, entropy=history.entropy)
    for batch in history.batches:
        history.write(recovered.log, recovered.machine, batch)
    save_snapshot(disk, recovered.machine)
    files = disk.files()
    last = max(name for name in files if name.startswith("log."))
    with pytest.raises(CorruptionError, match="was written later"):
        recover(copy({name: data for name, data in files.items() if name != last}))


def test_snapshots_without_any_log_are_refused(history: Any) -> None:
    disk, _ = written(history)
    save_snapshot(disk, recover(disk).machine)
    disk.remove(FIRST)
    with pytest.raises(StorageError, match="no log segment"):
        recover(disk)


def test_a_segment_of_another_history_is_refused(history: Any) -> None:
    disk = MemoryDisk()
    recovered = recover(disk)
    history.write(recovered.log, recovered.machine, history.batches[0])
    save_snapshot(disk, recovered.machine)
    other, _ = written(history)
    disk.put(FIRST, other.files()[FIRST])
    with pytest.raises(CorruptionError, match="history"):
        recover(disk)


def test_a_newer_segment_format_is_refused(history: Any) -> None:
    disk, _ = written(history)
    data = bytearray(disk.files()[FIRST])
    data[8:12] = (2).to_bytes(4, "big")
    data[60:64] = crc32(data[:60]).to_bytes(4, "big")
    with pytest.raises(NewerFormatError, match=f"{FIRST}: format version 2, this server knows 1"):
        recover(copy({FIRST: bytes(data)}))


def test_a_record_of_an_operation_that_a_later_version_has_is_refused(history: Any) -> None:
    """To leave it out would give another state than the one that was told of."""
    disk = MemoryDisk()
    recovered = recover_state(disk, Machine, segment_bytes=4096, entropy=history.entropy)
    later = Record(1_999, 0, 0, 0, 0, (), ())
    recovered.log.append((*history.batches[0], later, *history.batches[1]), 1)
    disk.restart()
    before = disk.files()
    with pytest.raises(NewerFormatError, match=r"index 1: records of operations \[1999\], which this server does not"):
        recover(disk)
    assert disk.files() == before


@pytest.mark.parametrize(("field", "text"), [(4, "batch format 3"), (6, "record format 3")])
def test_a_newer_batch_is_refused_not_cut_off(history: Any, field: int, text: str) -> None:
    disk, ends = written(history)
    data = bytearray(disk.files()[FIRST])
    _, seed = decode_header(FIRST, bytes(data), LOG_MAGIC)
    at = ends[-2]
    data[at + field : at + field + 2] = (3).to_bytes(2, "big")
    crc = crc32(data[at : at + 32], seed)
    data[at + 32 : at + 36] = crc.to_bytes(4, "big")
    data[at + 52 : at + 56] = crc32(data[at + 36 : at + 52], crc).to_bytes(4, "big")
    with pytest.raises(NewerFormatError, match=text):
        recover(copy({FIRST: bytes(data)}))


def test_no_client_can_forge_a_batch(history: Any) -> None:
    """A znode that holds the image of a batch, in a write that tore before it: the tail is cut off as ever."""
    disk = MemoryDisk()
    recovered = recover(disk, segment_bytes=1 << 16)
    history.write(recovered.log, recovered.machine, history.batches[0])
    position = recovered.log.statistics().position
    image, _ = encode_batch(LogEntry(1, 9, 0, encode_records(())), synced=8, seed=0, chain=0)
    evil = Record(int(Op.CREATE), 7, 1, 1, 0, (), ("/evil", image * 50, None, 0, 0))
    recovered.log.append([evil], 2)
    disk.restart()
    disk.flip(FIRST, position + 1)
    assert recover(disk, segment_bytes=1 << 16).next_index == 2


def test_the_valid_part_is_written_anew(history: Any) -> None:
    """What a failed fsync left in the page cache is served only once it is on the medium."""
    for seed in range(20):
        disk = MemoryDisk(Random(seed))
        recovered = recover_state(disk, Machine, segment_bytes=4096, entropy=history.entropy)
        history.write(recovered.log, recovered.machine, history.batches[0])
        disk.fail_at(2)
        with pytest.raises(StorageError):
            recovered.log.append(history.batches[1], 2)
        disk.restart()
        seen = history.recovered_index(disk)
        assert seen == 4
        disk.crash()
        assert history.recovered_index(disk) == seen


def test_recovery_seals_what_it_wrote(history: Any) -> None:
    disk, ends = written(history)
    assert history.recovered_index(disk) == len(history.records)
    disk.flip(FIRST, ends[-1] - 1)
    with pytest.raises(CorruptionError):
        recover(disk)


def test_temporary_files_are_removed_and_strangers_left_alone(history: Any) -> None:
    disk, _ = written(history)
    disk.put(snapshot_name(9) + ".tmp", b"half")
    disk.put(log_name(9) + ".tmp", b"half")
    disk.put("notes.txt", b"mine")
    disk.put("log.7", b"not a segment's name")
    history.recovered_index(disk)
    assert disk.names() == [FIRST, "log.7", "notes.txt"]


def test_a_header_whose_checksum_ends_in_zeros_is_read_whole() -> None:
    """Where a disk knows exactly where its data ends, an empty segment ends inside such a header."""
    salt = next(
        salt
        for salt in (number.to_bytes(8, "big") for number in range(10_000))
        if encode_header(FileHeader(LOG_MAGIC, bytes(16), 1, 0, salt)).endswith(b"\0")
    )
    disk = MemoryDisk()
    for _ in range(2):
        recovered = recover_state(
            disk, Machine, segment_bytes=4096, entropy=lambda size: salt if size == 8 else bytes(16)
        )
        assert disk.data_end(FIRST) < HEADER_BYTES
        assert recovered.machine.index == 0
        disk.restart()
