"""The commit loop with a real thread behind it, on a disk in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from random import Random

import pytest
import trio
from engine_bench import HISTORY, Bench

from coordserver.core.state.machine import Machine
from coordserver.server.replica import BATCH_RECORDS, GATHER_TURNS, SLICE_RECORDS, Replica
from coordserver.storage import recover_state
from coordserver.testing.memory_disk import MemoryDisk, MemoryFile

SLICES = 5


def _replica(bench: Bench) -> Replica:
    recovered = recover_state(MemoryDisk(Random(1)), Machine, entropy=lambda size: HISTORY[:size])
    return Replica(bench.engine, recovered.log, lambda: None)


async def _collect(committer: Replica) -> None:
    while True:
        await trio.lowlevel.wait_readable(committer.fd)
        committer.collect()


async def test_the_state_stands_still_while_it_is_paused_even_in_the_middle_of_a_batch() -> None:
    bench = Bench(outstanding_per_session=SLICES * SLICE_RECORDS)
    committer = _replica(bench)
    attachment, _ = bench.hello(remembers=False)
    for number in range(1, SLICES * SLICE_RECORDS):
        bench.create(attachment, number, f"/znode-{number}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        nursery.start_soon(_collect, committer)
        committer.kick()
        while committer.applied_index < SLICE_RECORDS:
            await trio.lowlevel.checkpoint()
        async with committer.paused() as index:
            assert index < SLICES * SLICE_RECORDS
            for _ in range(10):
                await trio.lowlevel.checkpoint()
                assert bench.machine.index == index
        await committer.drained()
        assert bench.machine.index == SLICES * SLICE_RECORDS
        nursery.cancel_scope.cancel()
    await committer.stop()


async def test_nothing_takes_effect_before_its_batch_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    durably = MemoryFile.write_durably

    def slow(file: MemoryFile, offset: int, data: bytes) -> None:
        assert written.wait(20)
        durably(file, offset, data)

    bench = Bench()
    committer = _replica(bench)
    attachment, _ = bench.hello(remembers=False)
    before = bench.machine.index
    monkeypatch.setattr(MemoryFile, "write_durably", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        nursery.start_soon(_collect, committer)
        bench.create(attachment, 1, "/znode")
        try:
            assert committer.kick()
            for _ in range(20):
                committer.turn()
                committer.tick()
                await trio.sleep(0.001)
            assert bench.machine.index == before
        finally:
            written.set()
        await committer.drained()
        assert bench.machine.index > before
        nursery.cancel_scope.cancel()
    await committer.stop()


async def test_an_idle_log_is_sealed_by_the_second_tick() -> None:
    bench = Bench()
    committer = _replica(bench)
    attachment, _ = bench.hello(remembers=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        nursery.start_soon(_collect, committer)
        bench.create(attachment, 1, "/znode")
        committer.kick()
        await committer.drained()
        log = committer.log
        committer.tick()
        await committer.drained()
        assert not log.sealed
        committer.tick()
        await committer.drained()
        assert log.sealed
        nursery.cancel_scope.cancel()
    await committer.stop()


async def test_a_batch_gathers_until_all_sockets_were_read_or_for_a_few_turns_or_until_it_is_large() -> None:
    bench = Bench(outstanding_per_session=2 * BATCH_RECORDS)
    committer = _replica(bench)
    attachment, _ = bench.hello(remembers=False)

    async def batches_begun(make: Callable[[], None]) -> bool:
        make()
        begun = not bench.engine.fresh
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            nursery.start_soon(_collect, committer)
            await committer.drained()
            nursery.cancel_scope.cancel()
        return begun

    numbers = count(1)

    def ask(writes: int, turns: int) -> None:
        for _ in range(writes):
            bench.create(attachment, number := next(numbers), f"/znode-{number}")
        for _ in range(turns):
            committer.turn()

    assert await batches_begun(lambda: committer.kick())
    assert not await batches_begun(lambda: ask(1, GATHER_TURNS - 1))
    assert await batches_begun(lambda: ask(1, GATHER_TURNS))
    assert not await batches_begun(lambda: ask(BATCH_RECORDS - 1, 1))
    assert await batches_begun(lambda: ask(BATCH_RECORDS, 1))
    await committer.stop()
