"""A process that was killed and started again goes on with its predecessor's session."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from coordserver.client import Client, connect
from coordserver.client.native import NativeCodec
from coordserver.client.session import Session
from coordserver.client.transport import dial_tcp, parse_hosts
from coordserver.testing.embedded import embedded_server


@asynccontextmanager
async def killed_at_the_end(address: str) -> AsyncIterator[Client]:
    """A session whose process dies with the block: nobody says goodbye."""
    session = Session(
        parse_hosts(address), dial_tcp, NativeCodec, timeout_ms=10_000, name="first", rng=random.Random(1)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        yield Client(session)
        session.stop()


async def test_the_ephemerals_stay_and_writes_are_new_ones(tmp_path: Path) -> None:
    async with embedded_server(tmp_path) as handle, connect(handle.address) as onlooker:
        async with killed_at_the_end(handle.address) as first:
            await first.create("/mine", b"1", ephemeral=True)
            for number in range(20):
                await first.set("/mine", b"%d" % number)
                await first.get("/mine")
            left = first.session_id, first.session_password
        async with connect(handle.address, session=left) as second:
            assert second.session_id == left[0]
            assert second.session_number == 1
            # Under a number that the server knows this would be answered as what it was then, and not done.
            assert (await second.create("/more", b"", ephemeral=True)).stat.ephemeral_owner == left[0]
            assert (await second.get("/mine")).stat.ephemeral_owner == left[0]
            await second.set("/mine", b"new")
            assert (await onlooker.get("/mine")).data == b"new"
        await onlooker.wait_deleted("/mine")
        await onlooker.wait_deleted("/more")


async def test_one_that_has_ended_is_replaced(tmp_path: Path) -> None:
    async with embedded_server(tmp_path) as handle:
        async with connect(handle.address) as first:
            left = first.session_id, first.session_password
        async with connect(handle.address, session=left) as second:
            assert second.session_id not in (0, left[0])
            assert second.session_number == 2
            await second.create("/new", ephemeral=True)


async def test_a_wrong_password_takes_nothing_from_anybody(tmp_path: Path) -> None:
    async with embedded_server(tmp_path) as handle, connect(handle.address) as owner:
        await owner.create("/mine", ephemeral=True)
        async with connect(handle.address, session=(owner.session_id, bytes(16))) as other:
            assert other.session_id != owner.session_id
            await other.create("/other", ephemeral=True)
        assert (await owner.get("/mine")).stat.ephemeral_owner == owner.session_id
