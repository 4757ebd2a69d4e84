"""A disk that fills up and empties again under a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import attrs
import pytest
import trio
from engine_bench import HISTORY, Bench, Told, replies
from raw_client import RawClient, running

from coordserver.client import connect
from coordserver.core.model.errors import DiskFullError, MarshallingError
from coordserver.core.model.operations import Op
from coordserver.core.serving.pipeline import Attachment
from coordserver.core.state.machine import Machine
from coordserver.server import disk_guard
from coordserver.server.disk_guard import DiskGuard
from coordserver.server.replica import Replica
from coordserver.server.serve import ServerHandle
from coordserver.server.snapshots import Snapshotter
from coordserver.storage import recover_state
from coordserver.storage.file_disk import FileDisk
from coordserver.storage.space import DiskSpace, SpacePolicy
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
    monkeypatch.setattr(disk_guard, "LOOK_S", 0.01)
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

        def made() -> bool:
            """One snapshot, newer than those before, and of the log what it needs."""
            snapshots = [path.name for path in data.glob("snapshot.*")]
            segments = sorted(int(path.name[4:], 16) for path in data.glob("log.*"))
            if len(snapshots) != 1 or not snapshots[0] > before:
                return False
            return all(start > int(snapshots[0][9:25], 16) for start in segments[1:])

        while not made():  # noqa: ASYNC110 - files tell nobody
            await trio.sleep(0.01)
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
    monkeypatch.setattr("coordserver.server.log_writer.RETRY_S", 0.01)
    disk = MemoryDisk(Random(1), capacity_bytes=300_000)
    recovered = recover_state(disk, Machine, segment_bytes=100_000, entropy=lambda size: HISTORY[:size])
    bench = Bench()
    committer = Replica(bench.engine, recovered.log, lambda: None)
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
    committer = Replica(bench.engine, recovered.log, lambda: None)
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


KIB = 1024
SMALL_SEGMENT = 64 * KIB
BLOCK = bytes(4_000)


@attrs.define
class Filled:
    """A server without sockets on a small disk in memory, and one client that pipelines."""

    disk: MemoryDisk
    bench: Bench = attrs.field(init=False)
    committer: Replica = attrs.field(init=False)
    snapshotter: Snapshotter = attrs.field(init=False)
    keeper: DiskGuard = attrs.field(init=False)
    attachment: Attachment = attrs.field(init=False)
    told: Told = attrs.field(init=False)
    errors: dict[int, int] = attrs.field(factory=dict)
    number: int = 0

    async def serve(self, nursery: trio.Nursery) -> None:
        recovered = recover_state(self.disk, Machine, segment_bytes=SMALL_SEGMENT, entropy=lambda size: HISTORY[:size])
        self.bench = bench = Bench(recovered.machine)
        self.committer = Replica(bench.engine, recovered.log, lambda: None)
        self.snapshotter = Snapshotter(
            self.disk, bench.machine, self.committer, last_index=recovered.snapshot_index, every=1 << 30, kept=3
        )
        policy = SpacePolicy(SMALL_SEGMENT)
        self.keeper = DiskGuard(self.disk, recovered.log, bench.engine, self.committer, self.snapshotter, policy)
        self.attachment, self.told = bench.hello()
        for run in (self.committer.run, self._collect, self.keeper.run):
            nursery.start_soon(run)

    async def _collect(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.committer.fd)
            self.committer.collect()

    def send(self, op: Op, *arguments: object) -> int:
        self.number += 1
        self.bench.send(self.attachment, self.number, op, *arguments, acked=self.number)
        self.committer.kick()
        return self.number

    async def answers(self) -> None:
        await self.committer.drained()
        self.errors.update(replies(self.told.take()))

    async def error(self, op: Op, *arguments: object) -> int:
        number = self.send(op, *arguments)
        await self.answers()
        return self.errors[number]

    async def fill(self) -> int:
        """Create, eight at a time, until one is refused; how many there are."""
        created = 0
        while True:
            numbers = [self.send(Op.CREATE, f"/{created + at}", BLOCK, None, 0, 0) for at in range(8)]
            await self.answers()
            errors = [self.errors[number] for number in numbers]
            created += errors.count(0)
            if any(errors):
                return created


@asynccontextmanager
async def filled(capacity: int) -> AsyncIterator[Filled]:
    found = Filled(MemoryDisk(Random(1), capacity_bytes=capacity))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await found.serve(nursery)
            yield found
            nursery.cancel_scope.cancel()
        await found.committer.stop()


@pytest.mark.parametrize("capacity", range(900 * KIB, 1_200 * KIB, 50 * KIB))
async def test_a_fast_client_cannot_overrun_the_reserve(monkeypatch: pytest.MonkeyPatch, capacity: int) -> None:
    """However seldom the disk is looked at: the log says when it takes room."""
    monkeypatch.setattr(disk_guard, "LOOK_S", 1_000)
    async with filled(capacity) as server:
        await server.fill()
        assert server.keeper.fullness is DiskSpace.LOW
        while not server.snapshotter.taken:
            await trio.sleep(0.005)
        assert not server.committer.stalled
        assert server.disk.free() >= SMALL_SEGMENT


async def test_a_disk_that_a_fast_client_filled_is_free_again_once_most_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disk_guard, "LOOK_S", 0.01)
    async with filled(1_000 * KIB) as server:
        count = await server.fill()
        for number in range(count // 4, count):
            assert await server.error(Op.DELETE, f"/{number}", -1) == 0
        while await server.error(Op.CREATE, "/again", BLOCK, None, 0, 0) != 0:
            await trio.sleep(0.01)
        assert len(server.bench.machine.tree.nodes["/"].children) == count // 4 + 2  # and /zookeeper


async def test_a_snapshot_for_which_there_was_no_room_is_taken_once_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is logged or deleted meanwhile: another process makes the room."""
    monkeypatch.setattr(disk_guard, "LOOK_S", 0.01)
    monkeypatch.setattr(disk_guard, "AGAIN_S", 0.01)
    async with filled(1_000 * KIB) as server:
        for number in range(60):
            assert await server.error(Op.CREATE, f"/{number}", BLOCK, None, 0, 0) == 0
        others = server.disk.free() - 100 * KIB
        server.disk.put("other", bytes(others))
        while server.keeper.fullness is DiskSpace.ENOUGH:
            await trio.sleep(0.005)
        await trio.sleep(0.1)
        assert not server.snapshotter.taken
        server.disk.put("other", bytes(others - 200 * KIB))  # enough for a snapshot, not for more
        while not server.snapshotter.taken:
            await trio.sleep(0.005)


async def test_a_full_disk_is_used_well_by_a_server_that_was_just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log that it was started from is made superfluous though nothing new is written."""
    monkeypatch.setattr(disk_guard, "LOOK_S", 0.01)
    async with filled(1_000 * KIB) as server:
        for number in range(60):
            assert await server.error(Op.CREATE, f"/{number}", BLOCK, None, 0, 0) == 0
    disk = server.disk
    disk.crash()
    again = Filled(disk)
    disk.put("other", bytes(disk.free() - 350 * KIB))
    async with trio.open_nursery() as nursery:
        await again.serve(nursery)
        while not again.snapshotter.taken:
            await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
    await again.committer.stop()
    assert [name for name in disk.names() if name.startswith("log.")] != ["log.0000000000000001"]
