"""A server from its start to its stop: what it refuses to start on, what it keeps, and how it goes."""

from __future__ import annotations

import errno
import gc
import os
import time
from pathlib import Path
from random import Random

import pytest
import trio
from raw_client import ANY_PORT, RawClient, exchange, running

from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.core.model.errors import StorageError
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.server.clock import SystemClock
from coordserver.server.listener import ListenError
from coordserver.server.serve import serve, session_id_seed
from coordserver.server.ticker import without_collections
from coordserver.storage import NewerFormatError, open_data_dir, recover
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.file_disk import FileDiskFile
from coordserver.wire.admin.fourletter import WORDS
from coordserver.wire.native import client as wire


async def refusal(data_dir: Path, *listen: Address) -> BaseException:
    """Why a server does not start."""
    with pytest.raises((ListenError, StorageError)) as caught:
        await serve(ServerConfig(data_dir=data_dir, listen=listen or (ANY_PORT,)))
    assert "\n" not in str(caught.value)
    return caught.value


# -- what it does not start on ----------------------------------------------------------------------------------------


async def test_two_addresses_serve_the_same_tree(tmp_path: Path) -> None:
    async with running(tmp_path / "data", listen=(ANY_PORT, ANY_PORT)) as server:
        first, second = map(str, server.addresses)
        assert first != second
        await (await RawClient.open(first)).create("/n")
        assert (await (await RawClient.open(second)).ask(Op.EXISTS, "/n", False)).error == 0


async def test_a_port_in_use_is_told_and_the_other_is_closed_again(tmp_path: Path) -> None:
    async with running(tmp_path / "one") as server:
        taken = server.addresses[0]
        fault = await refusal(tmp_path / "two", ANY_PORT, taken)
        assert isinstance(fault, ListenError)
        assert str(taken) in str(fault)
        assert os.strerror(errno.EADDRINUSE) in str(fault)
        assert not (tmp_path / "two").exists()


async def test_an_address_that_is_not_ours_is_told(tmp_path: Path) -> None:
    assert isinstance(await refusal(tmp_path / "data", Address("192.0.2.1", 0)), ListenError)


async def test_a_data_directory_that_another_server_holds_is_told(tmp_path: Path) -> None:
    async with running(tmp_path / "data"):
        fault = await refusal(tmp_path / "data")
        assert str(tmp_path / "data") in str(fault)
        assert f"held by another server (process {os.getpid()})" in str(fault)


async def test_a_data_directory_is_made_but_not_its_parents(tmp_path: Path) -> None:
    fault = await refusal(tmp_path / "none" / "data")
    assert "its parent directory" in str(fault)
    (tmp_path / "file").write_text("")
    assert "not a directory" in str(await refusal(tmp_path / "file"))
    assert "not a directory" in str(await refusal(tmp_path / "file" / "data"))
    async with running(tmp_path / "data"):
        assert (tmp_path / "data" / "lock").exists()


async def test_files_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with running(data_dir) as server:
        await (await RawClient.open(server.address)).create("/n")
    [segment] = data_dir.glob("log.*")
    whole = segment.read_bytes()
    segment.write_bytes(newer(whole))
    fault = await refusal(data_dir)
    assert isinstance(fault, NewerFormatError)
    assert segment.name in str(fault)
    segment.write_bytes(whole)
    [snapshot] = data_dir.glob("snapshot.*")
    snapshot.write_bytes(newer(snapshot.read_bytes()))
    assert isinstance(await refusal(data_dir), NewerFormatError)


def newer(file: bytes) -> bytes:
    """The file as a version to come would begin it."""
    from zlib import crc32

    head = file[:8] + (99).to_bytes(4, "big") + file[12:60]
    return head + crc32(head).to_bytes(4, "big") + file[64:]


async def test_a_record_of_an_operation_not_known_here_is_refused(tmp_path: Path) -> None:
    with open_data_dir(tmp_path / "data") as disk:
        recovered = recover(disk)
        recovered.log.append([Record(9_999, 0, 0, 0, 0, (), ("/n",))], 1)
        recovered.log.close()
    fault = await refusal(tmp_path / "data")
    assert isinstance(fault, NewerFormatError)
    assert "operations [9999]" in str(fault)


# -- what it keeps ----------------------------------------------------------------------------------------------------


async def test_a_restart_keeps_tree_sessions_ephemerals_and_outcomes(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        client = await RawClient.open(server.address)
        await client.create("/n", b"data")
        sequential = await client.create("/n/s-", mode=3)
        zxid, hello = sequential.zxid, client.hello
    async with running(tmp_path / "data") as server:
        again = await RawClient.open(
            server.address,
            session_id=hello.session_id,
            password=hello.password,
            last_zxid=zxid,
            history_id=hello.history_id,
        )
        assert (again.hello.error, again.hello.last_number) == (0, 2)
        await again.stream.send_all(wire.encode_request(2, Op.CREATE, 2, ("/n/s-", b"", None, 3, 0)))
        assert (await again.reply()) == sequential
        assert (await again.ask(Op.GET_CHILDREN2, "/n", False)).fields[0] == ("s-0000000000",)
        ahead = await RawClient.open(server.address, last_zxid=zxid + 10, history_id=hello.history_id)
        assert ahead.hello.error == -1003


async def test_snapshots_are_taken_while_it_serves_and_old_files_go(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with running(data_dir, snapshot_every=100, snapshots_kept=2, segment_bytes=64 * 1024) as server:
        client = await RawClient.open(server.address)
        written = 0
        while not (len(snapshots(data_dir)) == 2 and not (data_dir / f"log.{1:016x}").exists()):
            assert (await client.create("/s-", Random(written).randbytes(500), mode=2)).error == 0
            written += 1
            assert written < 100_000, "no snapshot is ever taken"
    assert len(snapshots(data_dir)) == 2
    async with running(data_dir) as server:
        client = await RawClient.open(server.address)
        for number in range(written):
            reply = await client.ask(Op.GET_DATA, f"/s-{number:010d}", False)
            assert reply.fields[0] == Random(number).randbytes(500)


def snapshots(data_dir: Path) -> list[str]:
    """Names of the complete snapshots."""
    return sorted(path.name for path in data_dir.glob("snapshot.*") if not path.name.endswith(".tmp"))


# -- how it goes ------------------------------------------------------------------------------------------------------


async def test_a_graceful_stop_answers_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    durably = FileDiskFile.write_durably

    def slow(file: FileDiskFile, offset: int, data: bytes) -> None:
        durably(file, offset, data)
        time.sleep(0.02)  # batches are in flight when the stop comes

    async with running(tmp_path / "data") as server:
        client = await RawClient.open(server.address)
        monkeypatch.setattr(FileDiskFile, "write_durably", slow)
        stream = b"".join(client.encode(Op.CREATE, "/s-", b"x" * 200, None, 2, 0) for _ in range(900))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_what_goes, client, stream)
            first = await client.reply()
            server.stop()
            answered = [first, *await client.rest()]
            nursery.cancel_scope.cancel()
    assert [message.number for message in answered if isinstance(message, wire.Reply)] == [*range(1, len(answered) + 1)]
    async with running(tmp_path / "data") as server:
        client = await RawClient.open(server.address)
        reply = await client.ask(Op.GET_ALL_CHILDREN_NUMBER, "/")
        assert reply.fields[0] == 3 + len(answered)


async def _send_what_goes(client: RawClient, stream: bytes) -> None:
    try:
        await client.stream.send_all(stream)
    except trio.BrokenResourceError:
        pass


async def test_a_stop_does_not_wait_for_who_does_not_read(tmp_path: Path) -> None:
    async with running(tmp_path / "data", stop_ms=100) as server:
        client = await RawClient.open(server.address, receive_buffer=4_096)
        await client.create("/big", b"x" * 1_000_000)
        for _ in range(30):
            await client.send(Op.GET_DATA, "/big", False)
        await trio.sleep(0.1)
        server.stop()
        with trio.fail_after(30):
            while True:
                try:
                    assert await exchange(server.address, b"ruok") in (b"", b"imok")
                except OSError:
                    break


async def test_a_cancelled_server_is_a_killed_one(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        config = ServerConfig(data_dir=tmp_path / "data", listen=(ANY_PORT,))

        async def run(task_status: trio.TaskStatus[object]) -> None:  # noqa: ASYNC128 - serve says it
            await serve(config, task_status=task_status)

        server = await nursery.start(run)
        client = await RawClient.open(server.address)
        await client.create("/n")
        nursery.cancel_scope.cancel()
    await client.close()
    async with running(tmp_path / "data") as server:
        client = await RawClient.open(server.address)
        assert (await client.ask(Op.EXISTS, "/n", False)).error == 0


async def test_a_disk_that_fails_stops_the_server_before_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: FileDiskFile, offset: int, data: bytes) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def run() -> None:
        async with running(tmp_path / "data") as server:
            client = await RawClient.open(server.address)
            await client.create("/kept")
            monkeypatch.setattr(FileDiskFile, "write_durably", fail)
            await client.send(Op.CREATE, "/lost", b"", None, 0, 0)
            assert await client.rest() == []
            await trio.sleep_forever()

    with pytest.RaisesGroup(
        pytest.RaisesExc(StorageError, match="what the disk holds from there on is unknown"), flatten_subgroups=True
    ):
        await run()
    monkeypatch.undo()
    async with running(tmp_path / "data") as server:
        client = await RawClient.open(server.address)
        assert (await client.ask(Op.EXISTS, "/kept", False)).error == 0


def test_a_state_is_loaded_without_collections_and_frozen() -> None:
    before = gc.get_freeze_count()
    try:
        with without_collections():
            assert not gc.isenabled()
            made: list[list[int]] = [[] for _ in range(10_000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


# -- clocks -----------------------------------------------------------------------------------------------------------


class WallClock(SystemClock):
    """One whose time of day is wrong."""

    def __init__(self, wall_ms: int) -> None:
        self._wall_ms = wall_ms

    def wall_ms(self) -> int:
        return self._wall_ms


@pytest.mark.parametrize("wall_ms", [-(10**12), -1, 0, 4_102_444_800_000, 9_223_372_036_854, 2**53, 2**62])
async def test_any_time_of_day_will_do(tmp_path: Path, wall_ms: int) -> None:
    """Before 1970, far in the future, and beyond what a calendar has."""
    async with running(tmp_path / "data", clock=WallClock(wall_ms)) as server:
        client = await RawClient.open(server.address)
        await client.create("/n", b"data")
        assert (await client.ask(Op.GET_DATA, "/n", False)).fields[1][2] == wall_ms
        for word in WORDS - {b"stmk", b"crst", b"srst"}:
            assert await exchange(server.address, word) != b""
    async with running(tmp_path / "data", clock=WallClock(-wall_ms)) as server:
        client = await RawClient.open(server.address)
        assert (await client.ask(Op.GET_DATA, "/n", False)).fields[0] == b"data"
        assert (await client.create("/m")).error == 0


@pytest.mark.parametrize("ns", [-1, -(2**62), 0, 2**63 - 1])
def test_the_librarys_writes_are_tried_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ns: int) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: ns)
    writes = AsyncWrites.tried(tmp_path)
    if writes is not None:
        writes.close()
    assert session_id_seed(ns // 1_000_000) > 0
