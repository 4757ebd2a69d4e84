"""Somebody removes, replaces, moves or cuts the server's files while it runs: nothing lost is acknowledged."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from log_writing import PlayedWrites, batch, collected, opened
from raw_client import RawClient, exchange, running

from coordserver.core.model.errors import StorageError
from coordserver.core.model.operations import Op
from coordserver.server import snapshots
from coordserver.server.log_writer import LogWriter
from coordserver.storage.layout import is_temporary, log_name, needed_for_start, snapshot_name

Deed = Callable[[Path], None]


def segment_of(data_dir: Path) -> Path:
    """The open segment."""
    return max(path for path in data_dir.glob("log.*") if len(path.name) == len(log_name(0)))


def snapshots_in(data_dir: Path) -> list[str]:
    """Names of those that are complete."""
    return [path.name for path in data_dir.glob("snapshot.*") if not is_temporary(path.name)]


def remove_log(data_dir: Path) -> None:
    segment_of(data_dir).unlink()


def remove_all(data_dir: Path) -> None:
    shutil.rmtree(data_dir)


def remove_and_make(data_dir: Path) -> None:
    shutil.rmtree(data_dir)
    data_dir.mkdir()


def replace_log(data_dir: Path) -> None:
    copy = data_dir / "copy"
    shutil.copy(segment_of(data_dir), copy)
    copy.rename(segment_of(data_dir))


def cut_log(data_dir: Path) -> None:
    os.truncate(segment_of(data_dir), 0)


def move_log(data_dir: Path) -> None:
    segment_of(data_dir).rename(data_dir / "log.old")


def move_directory(data_dir: Path) -> None:
    data_dir.rename(data_dir.with_name("elsewhere"))


def mount_over(data_dir: Path) -> None:
    """As another file system would look from inside: the path is there, and has other files."""
    move_directory(data_dir)
    shutil.copytree(data_dir.with_name("elsewhere"), data_dir)


UNLINKING: list[Deed] = [remove_log, remove_all, remove_and_make, replace_log, cut_log]
MOVING: list[Deed] = [move_log, move_directory, mount_over]


@pytest.mark.parametrize("library", [True, False], ids=["library", "thread"])
@pytest.mark.parametrize("deed", UNLINKING)
async def test_a_write_into_a_file_that_is_gone_is_not_durable(tmp_path: Path, deed: Deed, library: bool) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    log = opened(data_dir)
    writer = LogWriter(log, PlayedWrites() if library else None)
    writer.begin(*batch(log))
    assert await collected(writer) == [1]
    deed(data_dir)
    writer.begin(*batch(log))
    [error] = await collected(writer)
    assert isinstance(error, StorageError)
    assert "while the server ran; nothing behind index 1 is acknowledged" in str(error)
    await writer.stop()
    log.close()


@pytest.mark.parametrize("library", [True, False], ids=["library", "thread"])
@pytest.mark.parametrize("deed", [*UNLINKING, *MOVING])
async def test_a_check_finds_every_deed(tmp_path: Path, deed: Deed, library: bool) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    log = opened(data_dir)
    writer = LogWriter(log, PlayedWrites() if library else None)
    writer.check()
    writer.begin(*batch(log))
    assert await collected(writer) == [1]
    assert log.is_whole()
    deed(data_dir)
    assert not log.is_whole()
    writer.check()
    [error] = await collected(writer)
    assert isinstance(error, StorageError)
    writer.begin(*batch(log))
    with pytest.raises(StorageError):
        log.append((), 2)
    await writer.stop()
    log.close()


@pytest.mark.parametrize("deed", [*UNLINKING, *MOVING])
async def test_a_segment_is_not_begun_behind_one_that_is_gone(tmp_path: Path, deed: Deed) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    log = opened(data_dir)
    log.append_encoded(*batch(log, 60_000))
    deed(data_dir)
    with pytest.raises(StorageError):
        log.append_encoded(*batch(log, 60_000))
    assert not (data_dir / log_name(2)).exists()
    log.close()


@pytest.mark.parametrize("deed", [*UNLINKING, *MOVING])
async def test_a_server_whose_files_are_gone_stops_and_says_why(tmp_path: Path, deed: Deed) -> None:
    data_dir = tmp_path / "data"

    async def run() -> None:
        async with running(data_dir) as server:
            client = await RawClient.open(server.address)
            await client.create("/kept")
            deed(data_dir)
            if deed in UNLINKING:
                await client.send(Op.CREATE, "/lost", b"", None, 0, 0)
                assert await client.rest() == []
            await trio.sleep_forever()

    with (
        trio.fail_after(20),
        pytest.RaisesGroup(pytest.RaisesExc(StorageError, match="while the server ran"), flatten_subgroups=True),
    ):
        await run()


async def test_what_tells_of_the_directory_survives_its_end(tmp_path: Path) -> None:
    """`dirs` and `conf` list the directory; between its end and the check they find nothing."""

    async def run() -> None:
        async with running(tmp_path / "data") as server:
            shutil.rmtree(tmp_path / "data")
            assert await exchange(server.address, b"dirs") == b"datadir_size: 0\nlogdir_size: 0\n"
            await trio.sleep_forever()

    with pytest.RaisesGroup(StorageError, flatten_subgroups=True):
        await run()


async def test_a_lock_file_that_was_removed_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path / "data"):
        (tmp_path / "data" / "lock").unlink()
        with trio.fail_after(20):
            while "made and locked again" not in caplog.text:
                await trio.sleep(0.01)
        with pytest.RaisesGroup(pytest.RaisesExc(StorageError, match="held by another"), flatten_subgroups=True):
            async with running(tmp_path / "data"):
                pass


async def test_a_server_whose_lock_another_has_taken_stops(tmp_path: Path) -> None:
    import fcntl

    async def run() -> None:
        async with running(tmp_path / "data"):
            lock = tmp_path / "data" / "other"
            with lock.open("w") as other:
                fcntl.flock(other, fcntl.LOCK_EX)
                lock.rename(tmp_path / "data" / "lock")
                await trio.sleep_forever()

    with (
        trio.fail_after(20),
        pytest.RaisesGroup(pytest.RaisesExc(StorageError, match="another server has locked"), flatten_subgroups=True),
    ):
        await run()


@pytest.mark.parametrize("pattern", ["snapshot.*", "log.0000000000000001", "snapshot.* log.0000000000000001"])
async def test_a_file_that_a_start_needs_is_replaced_by_a_snapshot(
    tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshots, "LOOK_S", 0.0)
    data_dir = tmp_path / "data"
    async with running(data_dir, snapshot_every=1_000_000, segment_bytes=64 * 1024) as server:
        client = await RawClient.open(server.address)
        await client.create("/first")
    async with running(data_dir, snapshot_every=1_000_000, segment_bytes=64 * 1024) as server:
        client = await RawClient.open(server.address)
        for _ in range(20):
            await client.create("/s-", b"x" * 10_000, mode=2)
        assert len(list(data_dir.glob("log.*"))) > 2
        await trio.sleep(2 * snapshots.CHECK_S)  # so that it has seen them
        before = max(snapshots_in(data_dir))
        for part in pattern.split():
            for path in data_dir.glob(part):
                path.unlink()
        with trio.fail_after(20):
            while max(snapshots_in(data_dir), default="") <= before:
                await trio.sleep(0.05)
        assert "a snapshot is taken in its place" in caplog.text
        # As a killed server leaves it: a copy of what is there now must start.
        shutil.copytree(data_dir, tmp_path / "copy")
    async with running(tmp_path / "copy") as server:
        client = await RawClient.open(server.address)
        assert (await client.ask(Op.GET_ALL_CHILDREN_NUMBER, "/")).fields[0] == 3 + 21


@pytest.mark.parametrize(
    ("snapshot", "starts", "needed"),
    [
        (0, [1], [log_name(1)]),
        (0, [1, 5], [log_name(1), log_name(5)]),
        (4, [1, 5, 9], [snapshot_name(4), log_name(5), log_name(9)]),
        (5, [1, 5, 9], [snapshot_name(5), log_name(5), log_name(9)]),
        (20, [9, 1, 5], [snapshot_name(20), log_name(9)]),
    ],
)
def test_what_a_start_needs(snapshot: int, starts: list[int], needed: list[str]) -> None:
    assert needed_for_start(snapshot, starts) == needed


async def test_a_snapshot_that_fails_says_whether_the_log_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from coordserver.storage.file_disk import FileDisk

    def fail(disk: FileDisk, name: str, size: int) -> None:
        raise OSError(5, "Input/output error")

    with caplog.at_level(logging.ERROR):
        async with running(tmp_path / "data") as server:
            client = await RawClient.open(server.address)
            await client.create("/n")
            monkeypatch.setattr(FileDisk, "create", fail)
        assert "failed, the log has everything" in caplog.text
