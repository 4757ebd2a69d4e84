"""A disk that fills up and empties again under a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import attrs
import pytest
import trio
from engine_bench import HISTORY, Bench, replies
from raw_client import RawClient, running

from coordserver.client import connect
from coordserver.core.errors import DiskFullError, MarshallingError
from coordserver.core.machine import Machine
from coordserver.core.operations import Op
from coordserver.server import space
from coordserver.server.commit import Committer
from coordserver.server.serve import ServerHandle
from coordserver.storage import recover_state
from coordserver.storage.file_disk import FileDisk
from coordserver.testing.memory_disk import MemoryDisk

MIB = 1 << 20
SEGMENT = MIB
PLENTY = 10_000 * MIB
LOW = 2 * MIB
FULL = -1004


@attrs.define
class Disk:
    """What is free on the disk of every server of a test."""

    free: int = PLENTY


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(FileDisk, "free_bytes", lambda _: found.free)
    monkeypatch.setattr(space, "LOOK_S", 0.01)
    return found


@asynccontextmanager
async def served(path: Path, **settings: int) -> AsyncIterator[ServerHandle]:
    async with running(path / "data", segment_bytes=SEGMENT, reserve_bytes=5 * MIB, **settings) as server:
        yield server


async def until(client: RawClient, error: int) -> None:
    """Set a znode until the answer is this."""
    while (await client.ask(Op.SET_DATA, "/n", b"", -1)).error != error:
        await trio.sleep(0.005)


async def test_low_takes_what_makes_room_and_ends_by_itself(tmp_path: Path, disk: Disk) -> None:
    async with served(tmp_path) as server:
        client = await RawClient.open(server.address)
        for path in ("/n", "/t", "/t/a", "/t/b", "/x", "/y"):
            assert (await client.create(path)).error == 0
        disk.free = LOW
        await until(client, FULL)
        assert (await client.create("/new")).error == FULL
        assert (await client.ask(Op.SET_ACL, "/n", None, -1)).error == FULL
        multi = ((int(Op.CHECK), "/y", -1), (int(Op.DELETE), "/y", -1))
        assert (await client.ask(Op.MULTI, (*multi, (int(Op.SET_DATA), "/n", b"", -1)))).error == FULL
        assert (await client.ask(Op.MULTI, multi)).error == 0
        assert (await client.ask(Op.DELETE, "/x", -1)).error == 0
        assert (await client.ask(Op.DELETE_TREE, "/t")).error == 0
        assert (await client.ask(Op.GET_CHILDREN, "/", False)).error == 0
        other = await RawClient.open(server.address)
        assert other.hello.error == 0
        assert (await other.ask(Op.CLOSE_SESSION)).error == 0
        disk.free = PLENTY
        await until(client, 0)


async def test_low_leaves_one_snapshot_that_is_new_and_no_log_before_it(tmp_path: Path, disk: Disk) -> None:
    data = tmp_path / "data"
    async with served(tmp_path, snapshot_every=50) as server:
        client = await RawClient.open(server.address)
        await client.create("/n")
        while len(list(data.glob("snapshot.*[0-9a-f]"))) < 3:
            await client.ask(Op.SET_DATA, "/n", bytes(5_000), -1)
        before = max(path.name for path in data.glob("snapshot.*[0-9a-f]"))
        await client.ask(Op.SET_DATA, "/n", b"", -1)
        disk.free = LOW
        while not (len(found := [path.name for path in data.glob("snapshot.*")]) == 1 and found[0] > before):
            await trio.sleep(0.01)
        [snapshot] = data.glob("snapshot.*")
        segments = sorted(int(path.name[4:], 16) for path in data.glob("log.*"))
        assert all(start > int(snapshot.name[9:], 16) for start in segments[1:])
        assert (await client.ask(Op.EXISTS, "/n", False)).error == 0


async def test_in_the_last_few_bytes_nothing_is_written_and_nobody_expires(tmp_path: Path, disk: Disk) -> None:
    async with served(tmp_path, session_timeout_min_ms=100) as server:
        client = await RawClient.open(server.address)
        await client.create("/n")
        left = await RawClient.open(server.address, timeout_ms=100)
        await left.create("/e", mode=1)
        await left.close()
        for _ in range(17):
            await client.ask(Op.SET_DATA, "/n", bytes(50_000), -1)
        disk.free = 0  # and less than a quarter of the log's segment is left
        while (await client.ask(Op.DELETE, "/none", -1)).error != FULL:
            await trio.sleep(0.005)
        await trio.sleep(0.3)  # the seal of what was written before
        log = sorted((tmp_path / "data").glob("log.*"))[-1].read_bytes()
        refused = await RawClient.dial(server.address)
        assert (await refused.greet()).error == -1003
        await trio.sleep(0.5)
        assert sorted((tmp_path / "data").glob("log.*"))[-1].read_bytes() == log
        assert (await client.ask(Op.EXISTS, "/e", False)).error == 0
        disk.free = PLENTY
        while (await client.ask(Op.EXISTS, "/e", False)).error == 0:
            await trio.sleep(0.01)


async def test_clients_get_an_error_of_their_own_and_zookeepers_a_definite_one(tmp_path: Path, disk: Disk) -> None:
    async with served(tmp_path) as server:
        native = await RawClient.open(server.address)
        await native.create("/n")
        disk.free = LOW
        await until(native, FULL)
        async with connect(server.address, session_timeout=4) as zk:
            with pytest.raises(DiskFullError):
                await zk.create("/a")
            await zk.delete_tree("/n")
        async with connect(f"zk://{server.address}", session_timeout=4) as zk:
            with pytest.raises(MarshallingError):
                await zk.create("/a")
            assert await zk.exists("/a") is None


async def test_a_batch_for_which_there_is_no_segment_waits_and_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordserver.server.commit.RETRY_S", 0.01)
    disk = MemoryDisk(Random(1), capacity_bytes=300_000)
    recovered = recover_state(disk, Machine, segment_bytes=100_000, entropy=lambda size: HISTORY[:size])
    bench = Bench()
    committer = Committer(bench.engine, recovered.log, lambda: None)
    disk.put("filler", bytes(150_000))
    attachment, told = bench.hello()

    async def collect() -> None:
        while True:
            await trio.lowlevel.wait_readable(committer.fd)
            committer.collect()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        nursery.start_soon(collect)
        number = 0
        while not committer.stalled:
            number += 1
            bench.send(attachment, number, Op.CREATE, f"/{number}", bytes(5_000), None, 0, 0, acked=number)
            committer.kick()
            await trio.sleep(0.005)
        told.take()
        index = committer.applied_index
        bench.create(attachment, number + 1, "/after", acked=number)
        committer.kick()
        await trio.sleep(0.1)
        assert told.take() == []
        assert committer.applied_index == index
        disk.remove("filler")
        await committer.drained()
        assert replies(told.take())[-1] == (number + 1, 0)
        assert not committer.stalled
        nursery.cancel_scope.cancel()
    await committer.stop()
    disk.crash()
    again = recover_state(disk, Machine, segment_bytes=100_000).machine
    assert again.digest() == bench.machine.digest()


async def test_a_server_whose_batch_waits_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk(Random(1), capacity_bytes=150_000)
    recovered = recover_state(disk, Machine, segment_bytes=100_000, entropy=lambda size: HISTORY[:size])
    bench = Bench()
    committer = Committer(bench.engine, recovered.log, lambda: None)
    attachment, _ = bench.hello()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        number = 0
        while not committer.stalled:
            number += 1
            bench.send(attachment, number, Op.CREATE, f"/{number}", bytes(5_000), None, 0, 0, acked=number)
            committer.kick()
            await trio.sleep(0.005)
            if not committer.stalled:
                committer.collect()
        nursery.cancel_scope.cancel()
    with trio.fail_after(10):
        await committer.stop()
