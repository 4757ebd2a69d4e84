"""What a server has of limits, each with its error and its number."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from raw_client import RawClient, exchange, running

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op
from coordserver.server import memory_guard

FULL = int(ErrorCode.MEMORY_FULL)
LIMIT = int(ErrorCode.LIMIT_EXCEEDED)


async def metrics(address: str) -> dict[str, float]:
    """The numbers that can be watched."""
    answer = await exchange(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    lines = [line.split() for line in answer.decode().splitlines() if line.startswith("coord_")]
    return {line[0]: float(line[1]) for line in lines}


async def test_the_limits_of_a_session_are_settings_with_errors_and_numbers(tmp_path: Path) -> None:
    settings = {
        "ephemerals_per_session": 2,
        "watches_per_session": 2,
        "multi_operations": 2,
        "children_per_reply": 3,
        "znode_bytes": 10,
        "acl_entries": 1,
        "acl_bytes": 300,
        "sessions": 1,
    }
    async with running(tmp_path / "data", **settings) as server:
        client = await RawClient.open(server.address)
        answers = [(await client.create(f"/e{number}", mode=1)).error for number in range(3)]
        assert answers == [0, 0, ErrorCode.TOO_MANY_EPHEMERALS]
        answers = [(await client.ask(Op.EXISTS, f"/w{number}", True)).error for number in range(3)]
        assert answers == [-101, -101, LIMIT]
        check = (int(Op.CHECK), "/", -1)
        assert (await client.ask(Op.MULTI, (check,) * 2)).error == 0
        assert (await client.ask(Op.MULTI, (check,) * 3)).error == LIMIT
        assert (await client.ask(Op.GET_CHILDREN2, "/", False)).error == 0
        await client.create("/more")
        assert (await client.ask(Op.GET_CHILDREN2, "/", False)).error == LIMIT
        assert (await client.ask(Op.GET_CHILDREN, "/", False)).error == LIMIT
        for acl in ([(31, "ip", "10.0.0.1"), (31, "ip", "10.0.0.2")], [(31, "digest", "u:" + "x" * 300)]):
            assert (await client.ask(Op.SET_ACL, "/more", acl, -1)).error == LIMIT
        assert (await client.create("/large", bytes(11))).error == ErrorCode.TOO_LARGE
        other = await RawClient.dial(server.address)
        assert (await other.greet()).error == ErrorCode.THROTTLED
        told = await metrics(server.address)
        names = ("too_many_ephemerals", "limit_exceeded", "too_large", "throttled", "memory_full", "disk_full")
        assert [told[f"coord_refused_{name}"] for name in names] == [1, 6, 1, 1, 0, 0]


async def test_one_multi_read_answers_no_more_than_any_other_read(tmp_path: Path) -> None:
    settings = {"multi_operations": 8, "children_per_reply": 3, "output_bytes": 64 * 1024}
    async with running(tmp_path / "data", **settings) as server:
        client = await RawClient.open(server.address)
        await client.create("/n", bytes(20_000))
        data, children = (int(Op.GET_DATA), "/n"), (int(Op.GET_CHILDREN), "/")
        absent = (int(Op.GET_DATA), "/none")
        assert (await client.ask(Op.MULTI_READ, (data,) * 3 + (absent,) * 5)).error == 0
        assert (await client.ask(Op.MULTI_READ, (data,) * 4)).error == LIMIT
        assert (await client.ask(Op.MULTI_READ, (absent,) * 9)).error == LIMIT
        assert (await client.ask(Op.MULTI_READ, (children,))).error == 0
        assert (await client.ask(Op.MULTI_READ, (children,) * 2)).error == LIMIT


async def test_above_the_memory_limit_only_what_makes_room_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_guard, "LOOK_S", 0.01)
    resident = 0
    monkeypatch.setattr(memory_guard, "resident_bytes", lambda: resident)
    async with running(tmp_path / "data", memory_bytes=3_000_000) as server:
        client = await RawClient.open(server.address)
        number = 0
        while (await client.create(f"/n{number}", bytes(500_000))).error == 0:
            number += 1
            assert number < 100
            await trio.sleep(0.02)
        assert 4 <= number <= 7
        told = await metrics(server.address)
        assert told["coord_memory_bytes"] > told["coord_memory_limit_bytes"] == 3_000_000
        assert told["coord_refused_memory_full"] == 1
        assert (await client.ask(Op.SET_DATA, "/n0", b"", -1)).error == FULL
        assert (await client.ask(Op.GET_DATA, "/n0", False)).error == 0
        other = await RawClient.open(server.address)
        assert (await other.ask(Op.CLOSE_SESSION)).error == 0
        for path in ("/n0", "/n1", "/n2"):
            assert (await client.ask(Op.DELETE, path, -1)).error == 0
        while (await client.create("/again", bytes(1))).error == FULL:
            await trio.sleep(0.01)
        assert (await client.ask(Op.EXISTS, "/again", False)).error == 0
        resident = 100_000_000  # what the estimate does not see
        while (await client.create("/resident/none")).error != FULL:
            await trio.sleep(0.01)


async def test_bytes_that_wait_for_an_answer_are_limited_for_each_connection(tmp_path: Path) -> None:
    """All is answered, in order, though the limit is less than what was sent."""
    async with running(tmp_path / "data", outstanding_bytes=64 * 1024) as server:
        client = await RawClient.open(server.address)
        await client.create("/n")
        first = client.number + 1
        frames = b"".join(client.encode(Op.SET_DATA, "/n", bytes(50_000), -1, acked=first) for _ in range(40))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.stream.send_all, frames)
            assert await client.replies(40) == [(first + at, 0) for at in range(40)]


def test_what_the_process_may_use_is_the_least_of_its_limits(tmp_path: Path) -> None:
    group = tmp_path / "fs" / "a" / "b"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (tmp_path / "fs" / "a" / "memory.max").write_text("5000\n")
    (tmp_path / "fs" / "memory").mkdir()
    (tmp_path / "fs" / "memory" / "memory.limit_in_bytes").write_text("7000\n")
    groups = tmp_path / "cgroup"
    groups.write_text("7:cpu:/x\n4:memory:/\n0::/a/b\n")
    assert sorted(memory_guard._cgroup_limits(str(groups), tmp_path / "fs")) == [5000, 7000]
    assert list(memory_guard._cgroup_limits(str(tmp_path / "none"), tmp_path)) == []
    assert 0 < memory_guard.usable_bytes() <= 2**50
    assert memory_guard.resident_bytes() > 0
