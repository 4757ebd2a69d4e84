"""Connections over real sockets: what a peer may do wrong hurts only itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from raw_client import RawClient, exchange, running

from coordserver.core.model.operations import Op
from coordserver.server.serve import ServerHandle
from coordserver.wire.native import client as wire
from coordserver.wire.native.framing import frame
from coordserver.wire.native.packing import pack


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    async with running(tmp_path / "data", frame_bytes=4_096, znode_bytes=2_048) as handle:
        yield handle


async def test_the_handshake_tells_session_and_limits(server: ServerHandle) -> None:
    client = await RawClient.open(server.address, timeout_ms=3_000, name="tester", capabilities=("unknown",))
    hello = client.hello
    assert (hello.error, hello.timeout_ms, hello.last_number, hello.attachment) == (0, 3_000, 0, 1)
    assert dict(hello.limits) == {"frame_bytes": 4_096, "outstanding": 1_000, "znode_bytes": 2_048}
    assert 0 < hello.session_id < 2**63
    assert (len(hello.password), len(hello.history_id)) == (16, 16)


async def test_requests_may_come_right_behind_the_handshake_byte_by_byte(server: ServerHandle) -> None:
    client = await RawClient.dial(server.address)
    stream = wire.encode_hello(timeout_ms=5_000)
    stream += client.encode(Op.CREATE, "/n", b"data", None, 0, 0) + client.encode(Op.GET_DATA, "/n", False)
    for at in range(len(stream)):
        await client.stream.send_all(stream[at : at + 1])
    assert isinstance(await client.message(), wire.ServerHello)
    assert await client.replies(1) == [(1, 0)]
    assert (await client.reply()).fields[0] == b"data"


async def test_an_oversized_frame_is_answered_and_the_connection_lives(server: ServerHandle) -> None:
    client = await RawClient.open(server.address)
    for size in (5_000, 3_000_000):
        await client.send(Op.CREATE, "/big", b"x" * size, None, 0, 0)
    await client.send(Op.CREATE, "/too-much-data", b"x" * 2_049, None, 0, 0)
    await client.send(Op.CREATE, "/small", b"x", None, 0, 0)
    assert await client.replies(4) == [(1, -1001), (2, -1001), (3, -1001), (4, 0)]


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"", -2),
        (b"\xc1", -2),
        (pack("text"), -2),
        (pack(()), -2),
        (pack((0, 11, 0)), -2),
        (pack((-1, 11, 0)), -2),
        (pack(("one", 11, 0)), -2),
        (pack((5,)), 5),
        (pack((5, "create", 1)), 5),
        (pack((5, 11, 1)) + b"\x00", 5),
        (pack((5, 1, 1, "/n"))[:-1], 5),
        (pack((5, 1, 1)), 5),
        (pack((5, 11, -1)), 5),
        (b"\x94\x05\x0b\x01\xc7\x01\x05x", 5),
    ],
)
async def test_a_malformed_frame_is_answered_and_the_connection_lives(
    server: ServerHandle, body: bytes, number: int
) -> None:
    client = await RawClient.open(server.address)
    await client.stream.send_all(frame(body) + wire.encode_request(9, Op.PING, 1, ()))
    assert await client.replies(2) == [(number, -1002), (9, 0)]


async def test_an_unknown_operation_is_unimplemented(server: ServerHandle) -> None:
    client = await RawClient.open(server.address)
    for op in (999, -10, 13, 102, 1001):
        await client.stream.send_all(wire.encode_request(client.number + 1, op, 1, ()))
        client.number += 1
    await client.send(Op.PING)
    assert [error for _, error in await client.replies(6)] == [-6] * 5 + [0]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"PROXY TCP4 ",
        b"PUT / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"nope",
        b"\x93\xa5wrong",
        pack(("coord", 0, (), 0, b"", 1, 0, None, "")),
        pack(("coord", 1, (), 0, b"", 1, 0, None, "x" * 257)),
        pack(("coord", 1, (), "session")),
        b"\x99\xa5coord\xc1",
        pack(("coord", 1, ("x" * 5_000,), 0, b"", 1, 0, None, "")),
        b"GET /" + b"x" * 9_000,
    ],
)
async def test_what_is_no_protocol_of_ours_is_closed(server: ServerHandle, garbage: bytes) -> None:
    assert await exchange(server.address, garbage) == b""
    assert await exchange(server.address, b"ruok") == b"imok"


async def test_who_never_says_what_it_speaks_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path / "data", handshake_ms=50) as server:
        assert await exchange(server.address, b"\x99") == b""
        client = await RawClient.open(server.address)
        await trio.sleep(0.3)
        assert (await client.ask(Op.PING)).error == 0


async def test_a_client_that_reads_no_answers_is_cut_while_another_is_served(tmp_path: Path) -> None:
    async with running(tmp_path / "data", stall_ms=200) as server:
        good = await RawClient.open(server.address)
        await good.create("/big", b"x" * 1_000_000)
        bad = await RawClient.open(server.address, receive_buffer=4_096)
        for _ in range(50):
            await bad.send(Op.GET_DATA, "/big", False)
        while await connections(server.address) > 1:
            assert (await good.ask(Op.GET_DATA, "/", False)).error == 0
        got = sum(isinstance(message, wire.Reply) for message in await bad.rest())
        assert got < 50


async def test_a_watcher_that_sleeps_is_cut_and_its_session_lives(tmp_path: Path) -> None:
    async with running(tmp_path / "data", output_bytes=64 * 1024) as server:
        good = await RawClient.open(server.address)
        bad = await RawClient.open(server.address, receive_buffer=4_096)
        await bad.ask(Op.ADD_WATCH, "/", 1, -1)
        await good.create("/n")
        written = 0
        long = "x" * 1_000
        while await connections(server.address) > 1:
            operations = [(int(Op.CREATE), f"/n/{long}{written}-{n}", b"", None, 0, 0) for n in range(200)]
            assert (await good.ask(Op.MULTI, operations)).error == 0
            written += 1
            assert written < 200, "it is never cut"
        again = await RawClient.open(server.address, session_id=bad.hello.session_id, password=bad.hello.password)
        assert (again.hello.error, again.hello.attachment) == (0, 2)


async def connections(address: str) -> int:
    """How many connections there are besides this one."""
    lines = (await exchange(address, b"mntr")).decode().splitlines()
    values = dict(line.split("\t") for line in lines)
    return int(values["zk_num_alive_connections"]) - 1


async def test_a_pipelining_client_is_held_to_the_outstanding_requests_and_answered_all(tmp_path: Path) -> None:
    async with running(tmp_path / "data", outstanding=10) as server:
        client = await RawClient.open(server.address)
        stream = b"".join(client.encode(Op.CREATE, "/s-", b"", None, 2, 0, acked=max(1, n - 20)) for n in range(1, 501))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.stream.send_all, stream)
            assert await client.replies(500) == [(number, 0) for number in range(1, 501)]


async def test_the_words_and_their_numbers(server: ServerHandle) -> None:
    client = await RawClient.open(server.address)
    await client.create("/e", b"data", mode=1)
    await client.ask(Op.ADD_WATCH, "/e", 0, -1)
    await client.ask(Op.SET_DATA, "/e", b"more", -1)
    assert await exchange(server.address, b"ruok\n") == b"imok"
    srvr = (await exchange(server.address, b"srvr")).decode().splitlines()
    assert [line.split(":")[0] for line in srvr] == [
        *("Zookeeper version", "Latency min/avg/max", "Received", "Sent"),
        *("Connections", "Outstanding", "Zxid", "Mode", "Node count"),
    ]
    assert srvr[2:5] == ["Received: 6", "Sent: 5", "Connections: 2"]
    assert srvr[6:] == ["Zxid: 0x3", "Mode: standalone", "Node count: 6"]
    mntr = dict(line.split("\t") for line in (await exchange(server.address, b"mntr")).decode().splitlines())
    assert mntr["zk_server_state"] == "standalone"
    assert (mntr["zk_ephemerals_count"], mntr["zk_watch_count"], mntr["zk_global_sessions"]) == ("1", "1", "1")
    assert mntr["zk_approximate_data_size"] == "4"
    assert int(mntr["zk_coord_records_logged"]) >= 3


async def test_http_tells_health_and_metrics(server: ServerHandle) -> None:
    async def get(request: str) -> tuple[str, str]:
        answer = (await exchange(server.address, request.encode())).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return head.splitlines()[0], body

    assert await get("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") == ("HTTP/1.1 200 OK", "ok\n")
    assert await get("GET /readyz?verbose HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", "ok\n")
    status, body = await get("GET /metrics HTTP/1.0\r\n\r\n")
    assert status == "HTTP/1.1 200 OK"
    assert "\nznode_count 5\n" in body
    assert await get("HEAD /livez HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", "")
    assert (await get("GET /none HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 404 Not Found"
    assert (await get("GET nonsense\r\n\r\n"))[0] == "HTTP/1.1 400 Bad Request"


async def test_a_session_moves_with_its_resume(server: ServerHandle) -> None:
    first = await RawClient.open(server.address)
    await first.create("/e", mode=1)
    second = await RawClient.open(server.address, session_id=first.hello.session_id, password=first.hello.password)
    assert (second.hello.error, second.hello.last_number, second.hello.attachment) == (0, 1, 2)
    assert [message.reason for message in await first.rest() if isinstance(message, wire.SessionEnd)] == [-118]
    assert (await second.ask(Op.CLOSE_SESSION)).error == 0
    assert await second.rest() == []
    third = await RawClient.open(server.address, session_id=first.hello.session_id, password=first.hello.password)
    assert third.hello.error == -112
    assert await third.rest() == []


async def test_a_silent_session_expires_and_a_pinging_one_does_not(tmp_path: Path) -> None:
    async with running(tmp_path / "data", session_timeout_min_ms=300) as server:
        silent = await RawClient.open(server.address, timeout_ms=300)
        pinging = await RawClient.open(server.address, timeout_ms=300)
        await silent.create("/e", mode=1)
        await pinging.ask(Op.EXISTS, "/e", True)
        while not pinging.events:
            await trio.sleep(0.05)
            assert (await pinging.ask(Op.PING)).error == 0
        assert pinging.events[0].events == ((2, "/e"),)
        assert [message.reason for message in await silent.rest() if isinstance(message, wire.SessionEnd)] == [-112]
