"""Answers of 20 MB reach a peer that only reads: every protocol, plain and over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from authority import Authority
from raw_client import RawClient, running

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute
from coordserver.wire.native import client as native

WAIT_S = 30.0
DATA = 1_000_000
READS = 20
WATCHES = 20_000
LONG = "x" * 1_000
TOTAL = 20_000_000
SPEECH_OF_NATIVE = native.encode_hello(timeout_ms=30_000)
SPEECH_OF_JUTE = jute.connect_request(timeout_ms=30_000)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def served(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    """The address of a server that takes TLS too."""
    pem = authority.server().pem
    async with running(tmp_path / "data", tls_cert=pem, tls_key=pem, session_timeout_max_ms=60_000) as server:
        yield server.address


class Reader:
    """Sends once, and then only reads."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    @classmethod
    async def open(cls, address: str, context: ssl.SSLContext | None) -> Reader:
        client = await RawClient.dial(address)
        stream: trio.abc.Stream = client.stream
        if context is not None:
            stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
            await stream.do_handshake()
        return cls(stream)

    async def ask(self, data: bytes, wanted: int) -> int:
        """Send, and read so many bytes or up to the end; how many came."""
        await self._stream.send_all(data)
        got = 0
        while got < wanted and (part := await self._stream.receive_some(65_536)):
            got += len(part)
        return got


async def holding_data(address: str) -> RawClient:
    """A client of a server that holds 20 MB of data."""
    client = await RawClient.open(address, timeout_ms=30_000)
    for number in range(READS):
        assert (await client.create(f"/n{number}", bytes(DATA))).error == 0
    return client


async def holding_watches(address: str) -> RawClient:
    """A client of a server that has 20 MB of paths with watches."""
    client = await RawClient.open(address, timeout_ms=30_000)
    for start in range(0, WATCHES, 500):
        numbers = range(start, start + 500)
        await client.stream.send_all(b"".join(client.encode(Op.EXISTS, f"/{n:05}{LONG}", True) for n in numbers))
        assert {error for _, error in await client.replies(500)} == {-101}
    return client


def reads(encode: Callable[[int, str], bytes]) -> bytes:
    return b"".join(encode(number + 1, f"/n{number}") for number in range(READS))


def of_native() -> bytes:
    return SPEECH_OF_NATIVE + reads(lambda n, path: native.encode_request(n, Op.GET_DATA, 1, (path, False)))


def of_jute() -> bytes:
    return SPEECH_OF_JUTE + reads(lambda n, path: jute.request(n, Op.GET_DATA, (path, False)))


Prepare = Callable[[str], Awaitable[RawClient]]
ASKED: dict[str, tuple[Prepare, Callable[[], bytes], int]] = {
    "native": (holding_data, of_native, TOTAL),
    "jute": (holding_data, of_jute, TOTAL),
    "word": (holding_watches, lambda: b"wchp", 1 << 40),
    "http-listing": (holding_watches, lambda: b"GET /commands/wchp HTTP/1.1\r\n\r\n", 1 << 40),
    "snapshot": (holding_data, lambda: b"", 1 << 40),
}


def snapshot_request(address: str) -> bytes:
    return (
        f"GET /commands/snapshot?streaming=true HTTP/1.1\r\nHost: {address}\r\nAuthorization: ip 127.0.0.1\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("asked", list(ASKED))
async def test_an_answer_of_20_mb_reaches_who_only_reads(
    tmp_path: Path, authority: Authority, asked: str, secure: bool
) -> None:
    prepare, request, wanted = ASKED[asked]
    async with served(tmp_path, authority) as address:
        await prepare(address)
        context: Any = authority.context() if secure else None
        with trio.fail_after(WAIT_S):
            reader = await Reader.open(address, context)
            got = await reader.ask(request() or snapshot_request(address), wanted)
        assert got >= TOTAL


BIG = 1_000_000
BEHIND: dict[str, list[tuple[Op, ...]]] = {
    "data that is there": [(Op.SET_DATA, "/small", b"", -1), *[(Op.GET_DATA, "/big", False)] * 40],
    "data that the write brings": [(Op.SET_DATA, "/small", b"x" * BIG, -1), *[(Op.GET_DATA, "/small", False)] * 40],
    "data that a multi brings": [
        (Op.MULTI, ((int(Op.SET_DATA), "/small", b"x" * BIG, -1),)),
        *[(Op.GET_DATA, "/small", False)] * 40,
    ],
    "children": [(Op.SET_DATA, "/small", b"", -1), *[(Op.GET_CHILDREN, "/many", False)] * 1_000],
    "multiReads": [
        (Op.SET_DATA, "/small", b"", -1),
        *[(Op.MULTI_READ, ((int(Op.GET_DATA), "/big"),) * 10)] * 4,
    ],
    "writes in between": [(Op.SET_DATA, "/small", b"", -1), *[(Op.GET_DATA, "/big", False)] * 20] * 3,
}


@pytest.mark.parametrize("requests", BEHIND.values(), ids=BEHIND)
async def test_large_reads_behind_a_write_are_answered_as_they_are_read(
    tmp_path: Path, requests: list[tuple[Any, ...]]
) -> None:
    """The write is on its way to the disk when the reads come; a client that reads its answers is not cut off."""
    async with running(tmp_path / "data") as server:
        client = await RawClient.open(server.address)
        for path, data in (("/small", b""), ("/big", b"x" * BIG), ("/many", b"")):
            await client.create(path, data)
        if requests[1][0] is Op.GET_CHILDREN:
            for first in range(0, 2_000, 500):
                children = tuple(
                    (int(Op.CREATE), f"/many/{at:040}", b"", None, 0, 0) for at in range(first, first + 500)
                )
                await client.ask(Op.MULTI, children)
        said = b"".join(client.encode(op, *arguments) for op, *arguments in requests)
        await client.stream.send_all(said)
        first_number = client.number - len(requests) + 1
        numbers = range(first_number, client.number + 1)
        with trio.fail_after(60):
            assert await client.replies(len(requests)) == [(number, 0) for number in numbers]


@pytest.mark.parametrize(("name_bytes", "resumed"), [(10, True), (900, False)])
async def test_a_watch_that_missed_more_than_an_output_takes_is_not_resumed(
    tmp_path: Path, name_bytes: int, resumed: bool
) -> None:
    """The client reads everything anew; it is not cut off, to ask the same once more."""
    async with running(tmp_path / "data") as server:
        writer = await RawClient.open(server.address)
        since = (await writer.create("/r")).zxid
        for batch in range(22):
            names = (f"/r/{batch}-{at}-{'x' * name_bytes}" for at in range(900))
            await writer.ask(Op.MULTI, tuple((int(Op.CREATE), name, b"", None, 0, 0) for name in names))
        watcher = await RawClient.open(server.address)
        reply = await watcher.ask(Op.ADD_WATCH, "/", 1, since)
        assert (reply.error, reply.fields) == (0, (resumed,))
        assert sum(len(told.events) for told in watcher.events) == (22 * 900 if resumed else 0)
