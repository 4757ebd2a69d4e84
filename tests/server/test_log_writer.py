"""The log by either thread: the C library's where it goes, ours for everything else."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
import trio
from log_writing import PlayedWrites, batch, collected, opened, recovered
from server_process import ServerProcess

from coordserver.client import connect
from coordserver.server.log_writer import SEAL, LogWriter
from coordserver.storage import StorageError, async_writes
from coordserver.storage.file_disk import FileDisk


@pytest.mark.parametrize("most", [1 << 30, 701])
async def test_batches_go_by_the_library_though_it_takes_them_in_pieces(tmp_path: Path, most: int) -> None:
    writes = PlayedWrites(most=most)
    log = opened(tmp_path)
    writer = LogWriter(log, writes)
    last = log.next_index - 1
    for _ in range(5):
        writer.begin(*batch(log))
        assert await collected(writer) == [last + 1]
        last += 1
    assert len(writes.begun) >= 5
    assert log.statistics().batches == 5
    await writer.stop()
    log.close()
    assert recovered(tmp_path).index == last


async def test_a_segment_is_begun_by_our_own_thread(tmp_path: Path) -> None:
    writes = PlayedWrites()
    log = opened(tmp_path)
    writer = LogWriter(log, writes)
    for _ in range(12):
        writer.begin(*batch(log, 16_000))
        assert await collected(writer) == [log.next_index - 1]
    assert sum(name.startswith("log.") for name in FileDisk(tmp_path).names()) >= 3
    assert 0 < len(writes.begun) < 12
    await writer.stop()
    log.close()
    assert recovered(tmp_path).index == 12


async def test_a_seal_goes_by_either(tmp_path: Path) -> None:
    for writes in (PlayedWrites(), None):
        log = opened(tmp_path)
        writer = LogWriter(log, writes)
        writer.begin(*batch(log))
        await collected(writer)
        assert not log.sealed
        writer.begin(SEAL, 0, log.next_index)
        assert await collected(writer) == [log.next_index - 1]
        assert log.sealed
        await writer.stop()
        log.close()
    assert recovered(tmp_path).index == 2


@pytest.mark.parametrize(("most", "failure"), [(1 << 30, errno.EIO), (0, 0)])
async def test_a_write_that_fails_is_final(tmp_path: Path, most: int, failure: int) -> None:
    log = opened(tmp_path)
    writer = LogWriter(log, PlayedWrites(most=most, failure=failure))
    writer.begin(*batch(log))
    [error] = await collected(writer)
    assert isinstance(error, StorageError)
    assert "what the disk holds from there on is unknown" in str(error)
    writer.begin(*batch(log))
    [again] = await collected(writer)
    assert str(again) == str(error)
    await writer.stop()
    log.close()


async def test_a_library_that_does_not_tell_is_given_up(tmp_path: Path) -> None:
    writes = PlayedWrites(tells=False)
    log = opened(tmp_path)
    writer = LogWriter(log, writes)
    for turn in range(3):
        writer.begin(*batch(log))
        assert not writer.is_done_unheard()  # it may still be on its way
        await trio.sleep(0.06)
        assert writer.is_done_unheard()
        assert list(writer.collect()) == [turn + 1]
    writer.begin(*batch(log))
    assert await collected(writer) == [4]
    assert len(writes.begun) == 3
    await writer.stop()
    log.close()
    assert recovered(tmp_path).index == 4


async def test_what_is_told_too_late_does_not_stay(tmp_path: Path) -> None:
    writes = PlayedWrites(tells=False)
    log = opened(tmp_path)
    writer = LogWriter(log, writes)
    writer.begin(*batch(log))
    await trio.sleep(0.06)
    assert writer.is_done_unheard()
    assert list(writer.collect()) == [1]
    os.eventfd_write(writes.fd, 1)
    with trio.fail_after(20):
        await trio.lowlevel.wait_readable(writer.fd)
    assert list(writer.collect()) == []
    with pytest.raises(BlockingIOError):
        os.eventfd_read(writes.fd)
    await writer.stop()
    log.close()


async def test_a_library_that_tells_in_time_is_not_blamed_when_nobody_listens(tmp_path: Path) -> None:
    writes = PlayedWrites()
    log = opened(tmp_path)
    writer = LogWriter(log, writes)
    for _ in range(4):
        writer.begin(*batch(log))
        await trio.sleep(0.06)
        assert not writer.is_done_unheard()
        assert await collected(writer) == [log.next_index - 1]
    assert len(writes.begun) == 4
    await writer.stop()
    log.close()


async def test_a_stop_waits_for_what_is_being_written(tmp_path: Path) -> None:
    class Slow(PlayedWrites):
        def finished(self) -> int:
            return super().finished() if time.perf_counter() > until else None  # type: ignore[return-value]

    until = time.perf_counter() + 0.1
    log = opened(tmp_path)
    writer = LogWriter(log, Slow())
    writer.begin(*batch(log))
    await writer.stop()
    assert log.statistics().records == 1
    assert log.sealed
    log.close()


@pytest.mark.skipif(not async_writes._is_glibc(), reason="not glibc")
async def test_a_server_of_its_own_is_told_by_the_library_of_each_write(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, log_level="info")
    await trio.to_thread.run_sync(server.start)
    try:
        async with connect(f"127.0.0.1:{server.port}") as client:
            for number in range(20):
                await client.create(f"/n{number}", b"")
                await trio.sleep(0.01)
        await trio.to_thread.run_sync(server.stop)
    finally:
        server.kill()
    said = server.said()
    assert "written by a thread of the C library" in said
    assert "without a signal" not in said
