"""A real server process is killed again and again under writers; what it had acknowledged must be there, once.

Writers keep their sessions over all kills and send again what was not answered. Mayflies have a session for one round
and an ephemeral in it; some say goodbye, most just vanish. A reader's every answer is held against what was
acknowledged before it asked.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import attrs
import pytest
import trio
from raw_client import RawClient
from scale import scaled

from coordserver.core.model.operations import Op
from coordserver.wire.native import client as wire
from druidroles.lifeline import Lifeline

ROUNDS = scaled(20, 300)
WRITERS = 4
WINDOW = 40
START_S = 30
MAYFLIES = 3
MAYFLY_MS = 1_000
SERVER = ("--session-timeout-min-ms", "500", "--session-timeout-max-ms", "60000")


@attrs.define(eq=False)
class Writer:
    """Creates sequential znodes, deletes some of them again, counts in a znode of its own, and keeps what is unanswered
    to send it again. It has an ephemeral, which must live as long as its session.
    """

    name: str
    session_id: int = 0
    password: bytes = b""
    number: int = 0
    unanswered: dict[int, tuple[Op, tuple[Any, ...]]] = attrs.field(factory=dict)
    made: dict[int, str] = attrs.field(factory=dict)
    deleted: set[str] = attrs.field(factory=set)
    counted: int = 0
    to_delete: list[str] = attrs.field(factory=list)

    async def run(self, address: str, *, finish: bool = False) -> None:
        """Write until the server is gone, or, with `finish`, until everything is answered."""
        client = await RawClient.dial(address)
        try:
            hello = await client.greet(session_id=self.session_id, password=self.password, timeout_ms=60_000)
            assert hello.error == 0, "the session is lost"
            self.session_id, self.password = hello.session_id, hello.password
            for number in list(self.unanswered):
                await self._send(client, number)
            while not finish or self.unanswered:
                if not finish and len(self.unanswered) < WINDOW:
                    await self._more(client)
                    continue
                self._answered(await client.reply())
        except (EOFError, trio.BrokenResourceError, OSError):
            assert not finish
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await client.close()

    async def _more(self, client: RawClient) -> None:
        self.number += 1
        if self.number == 1:
            self.unanswered[1] = Op.CREATE, (f"/e/{self.name}", b"", None, 1, 0)
        elif self.number % 10 == 9:
            self.unanswered[self.number] = Op.SET_DATA, (f"/r/{self.name}", self.signed(self.number), -1)
        elif self.to_delete and self.number % 3 == 0:
            self.unanswered[self.number] = Op.DELETE, (self.to_delete.pop(), -1)
        else:
            self.unanswered[self.number] = Op.CREATE, ("/q/s-", self.signed(self.number), None, 2, 0)
        await self._send(client, self.number)

    def signed(self, number: int) -> bytes:
        """What is written, with a checksum."""
        text = f"{self.name}:{number}"
        return f"{text}:{crc32(text.encode()):08x}".encode()

    async def _send(self, client: RawClient, number: int) -> None:
        op, arguments = self.unanswered[number]
        await client.stream.send_all(wire.encode_request(number, op, min(self.unanswered), arguments))

    def _answered(self, reply: wire.Reply) -> None:
        assert reply.number == next(iter(self.unanswered)), "a reply out of order"
        assert reply.error == 0, reply
        op, arguments = self.unanswered.pop(reply.number)
        if op == Op.SET_DATA:
            self.counted = reply.number
        elif reply.number == 1:
            assert reply.fields[0] == f"/e/{self.name}"
        elif op == Op.CREATE:
            self.made[reply.number] = reply.fields[0]
            if reply.number % 2:
                self.to_delete.append(reply.fields[0])
        else:
            self.deleted.add(arguments[0])


async def mayfly(address: str, name: str, *, goodbye: bool) -> None:
    """A session with an ephemeral, which ends or is left behind. The server may be killed at any moment."""
    try:
        client = await RawClient.open(address, timeout_ms=MAYFLY_MS)
        await client.create(f"/e/{name}", mode=1)
        if goodbye:
            await client.ask(Op.CLOSE_SESSION)
        await client.close()
    except (EOFError, trio.BrokenResourceError, OSError):
        return


def number_of(data: bytes) -> tuple[str, int]:
    """(writer, number) of what a writer wrote; its checksum is right."""
    text, _, checksum = data.decode().rpartition(":")
    assert f"{crc32(text.encode()):08x}" == checksum
    name, _, number = text.partition(":")
    return name, int(number)


async def read_on(address: str, writers: list[Writer]) -> None:
    """Read the writers' counts until the server is gone: none is below what was acknowledged before the question."""
    try:
        client = await RawClient.open(address, timeout_ms=MAYFLY_MS)
        while True:
            for writer in writers:
                least = writer.counted
                reply = await client.ask(Op.GET_DATA, f"/r/{writer.name}", False)
                data = reply.fields[0]
                assert not least or number_of(data) >= (writer.name, least), "an acknowledged write is lost"
    except (EOFError, trio.BrokenResourceError, OSError):
        return


async def dead_ephemerals_go(client: RawClient, living: set[str]) -> None:
    """Wait until only the ephemerals of living sessions are there, and see that those are."""
    with trio.fail_after(START_S):
        while True:
            names = set((await client.ask(Op.GET_CHILDREN2, "/e", False)).fields[0])
            assert living <= names, "an ephemeral of a living session is gone"
            if names == living:
                return
            await trio.sleep(0.1)


@asynccontextmanager
async def process(data_dir: Path, log: Path) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """A server process: its address, and how to kill it. It is killed at the end in any case."""
    lifeline = Lifeline()
    with log.open("ab") as sink:
        server = await trio.lowlevel.open_process(
            [sys.executable, "-m", "cli", "server", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), *SERVER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            pass_fds=[lifeline.read_fd],
            env={**os.environ, **lifeline.environment},
        )
    assert server.stdout is not None

    async def kill() -> None:
        server.kill()
        await server.wait()

    try:
        line = b""
        with trio.fail_after(START_S):
            while not line.endswith(b"\n"):
                part = await server.stdout.receive_some()
                assert part, f"the server did not start, see {log}"
                line += part
        assert line.startswith(b"READY server ")
        yield line.split()[-1].decode(), kill
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + START_S):
            await kill()
            await server.stdout.aclose()
        lifeline.close()


@pytest.mark.real
@pytest.mark.timeout(60 + 10 * ROUNDS)
async def test_nothing_acknowledged_is_lost_and_no_sequence_number_used_twice(tmp_path: Path) -> None:
    rng = random.Random(1)
    writers = [Writer(f"w{n}") for n in range(WRITERS)]
    log = tmp_path / "server.log"

    def done() -> int:
        return sum(len(writer.made) for writer in writers)

    async with process(tmp_path / "data", log) as (address, _):
        client = await RawClient.open(address)
        for path in ("/q", "/e", "/r", *(f"/r/{writer.name}" for writer in writers)):
            await client.create(path)
        await client.close()
    for number in range(ROUNDS):
        async with process(tmp_path / "data", log) as (address, kill), trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.run, address)
            nursery.start_soon(read_on, address, writers)
            for one in range(MAYFLIES):
                fly = partial(mayfly, address, f"fly-{number}-{one}", goodbye=one == 0)
                nursery.start_soon(fly)
            enough = done() + rng.randrange(50, scaled(1_500, 500))
            while done() < enough:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.002)
            await kill()
    async with process(tmp_path / "data", log) as (address, _):
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(lambda writer: writer.run(address, finish=True), writer)
        made = {path: (writer.name, number) for writer in writers for number, path in writer.made.items()}
        deleted = set().union(*(writer.deleted for writer in writers))
        assert len(made) == done(), "a sequence number was used twice"
        client = await RawClient.open(address)
        children = (await client.ask(Op.GET_CHILDREN2, "/q", False)).fields[0]
        assert {f"/q/{name}" for name in children} == set(made) - deleted
        for name in children:
            data = (await client.ask(Op.GET_DATA, f"/q/{name}", False)).fields[0]
            assert number_of(data) == made[f"/q/{name}"]
        for writer in writers:
            data = (await client.ask(Op.GET_DATA, f"/r/{writer.name}", False)).fields[0]
            assert number_of(data) == (writer.name, writer.counted)
        await dead_ephemerals_go(client, {writer.name for writer in writers})
        await client.close()
    assert done() > ROUNDS * 50
