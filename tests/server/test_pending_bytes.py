"""Bytes of requests that wait for the log, of all connections together."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio
from engine_bench import Bench
from raw_client import RawClient, exchange, running

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op
from coordserver.server.pending_bytes import PendingBytes
from coordserver.storage.file_disk import FileDiskFile

MIB = 1 << 20
THROTTLED = int(ErrorCode.THROTTLED)


def test_what_is_applied_is_not_outstanding() -> None:
    bench = Bench()
    attachment, _, _ = bench.connected()
    pending_bytes = PendingBytes(bench.engine, 1_600)
    for number in range(1, 9):
        bench.create(attachment, number, f"/{number}", acked=1)
        pending_bytes.weigh(100 * number)
    assert pending_bytes.outstanding_bytes == 800  # nobody knows since when, so all of it
    bench.engine.committed(bench.machine.index + 4)
    pending_bytes.weigh(800)
    assert pending_bytes.outstanding_bytes == 400
    bench.sync()
    pending_bytes.weigh(850)
    assert pending_bytes.outstanding_bytes == 0


def test_there_is_too_much_until_enough_is_applied() -> None:
    bench = Bench()
    attachment, told, _ = bench.connected()
    pending_bytes = PendingBytes(bench.engine, 1_600)
    bench.create(attachment, 1, "/a")
    pending_bytes.weigh(1_601)
    bench.create(attachment, 2, "/b")
    bench.send(attachment, 3, Op.DELETE, "/a", -1)
    bench.sync()
    assert [entry[3] for entry in told.take()] == [0, THROTTLED, 0]
    pending_bytes.weigh(1_700)
    bench.create(attachment, 4, "/b")
    bench.sync()
    assert [entry[3] for entry in told.take()] == [0]


def test_so_few_notes_are_kept_however_often_it_is_weighed() -> None:
    bench = Bench()
    attachment, _, _ = bench.connected()
    pending_bytes = PendingBytes(bench.engine, 1_600)
    for number in range(1, 1_600):
        bench.send(attachment, number, Op.SET_DATA, "/none", b"", -1)
        pending_bytes.weigh(number)
    assert pending_bytes.weigh_at == 1_599 + 100
    assert len(pending_bytes._notes) <= 16


async def test_a_slow_disk_does_not_gather_requests_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    free.set()
    write = FileDiskFile.write_durably

    def slow(file: FileDiskFile, offset: int, data: bytes) -> None:
        assert free.wait(30)
        write(file, offset, data)

    monkeypatch.setattr(FileDiskFile, "write_durably", slow)
    async with running(tmp_path / "data", outstanding_total_bytes=MIB) as server:
        clients = [await RawClient.open(server.address) for _ in range(8)]
        await clients[0].create("/n")
        await clients[0].create("/gone")
        free.clear()
        for client in clients:
            frames = [client.encode(Op.SET_DATA, "/n", bytes(50_000), -1, acked=1) for _ in range(8)]
            await client.stream.send_all(b"".join(frames))
        metrics = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        while b"coord_refused_throttled 0\n" in (told := await exchange(server.address, metrics)):
            await trio.sleep(0.01)
        assert b"\ncoord_outstanding_bytes 0\n" not in told
        await clients[0].stream.send_all(clients[0].encode(Op.DELETE, "/gone", -1, acked=1))
        free.set()
        errors = [error for client in clients for _, error in await client.replies(8)]
        assert errors.count(0) + errors.count(THROTTLED) == 64
        assert errors.count(0) >= 15
        assert [error for _, error in await clients[0].replies(1)] == [0]
        while (await clients[0].create("/again")).error:
            await trio.sleep(0.01)
