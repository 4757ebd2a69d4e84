"""What processes say of themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from coordserver.client import Client
from druidroles.coordination import status as module
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.status import StatusView, announced_status
from druidroles.model.server import NodeRole

ME = "127.0.0.1:8083"
PATH = f"/druid/coord/status/historical/{ME}"
Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def test_what_is_said_is_seen(zk: Client, other: Client, paths: DruidPaths, eventually: Eventually) -> None:
    async with StatusView(other, paths, NodeRole.HISTORICAL) as view:
        await view.wait_synced()
        async with announced_status(zk, paths, NodeRole.HISTORICAL, ME, {"currSize": 0, "maxSize": 9}) as status:
            while ME not in view.statuses:
                await view.changed()
            assert view.statuses[ME] == {"currSize": 0, "maxSize": 9}
            for size in range(1, 50):
                status.say(currSize=size)
            while view.statuses[ME]["currSize"] != 49:
                await view.changed()
            assert view.statuses[ME] == {"currSize": 49, "maxSize": 9} == status.value
            found = await zk.get(PATH)
            assert found.stat.version == 1  # once, with the newest
            assert found.stat.ephemeral_owner == zk.session_id
        while view.statuses:
            await view.changed()


async def test_what_changes_fast_is_written_seldom(
    zk: Client, paths: DruidPaths, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 1000.0)
    async with announced_status(zk, paths, NodeRole.HISTORICAL, ME, {"n": 0}) as status:
        status.say(n=1)

        async def written() -> bool:
            return (await zk.get(PATH)).stat.version == 1

        await eventually(written)
        for n in range(2, 22):
            status.say(n=n)
            assert (await zk.get(PATH)).data == b'{"n":1}'


async def test_what_is_said_again_is_not_written_again(
    zk: Client, paths: DruidPaths, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)
    async with announced_status(zk, paths, NodeRole.HISTORICAL, ME, {"n": 0}) as status:
        status.say(n=0)
        status.say(n=1)

        async def written() -> bool:
            return (await zk.get(PATH)).data == b'{"n":1}'

        await eventually(written)
        assert (await zk.get(PATH)).stat.version == 1


async def test_the_newest_status_comes_back_in_the_next_session(
    zk: Client, paths: DruidPaths, expire: Callable[[Client], Awaitable[None]], eventually: Eventually
) -> None:
    async with announced_status(zk, paths, NodeRole.HISTORICAL, ME, {"n": 0}) as status:
        await expire(zk)
        status.say(n=1)

        async def back() -> bool:
            return await zk.exists(PATH) is not None and (await zk.get(PATH)).data == b'{"n":1}'

        await eventually(back)


async def test_garbage_says_nothing(zk: Client, other: Client, paths: DruidPaths) -> None:
    await other.create(PATH, b"[]", ephemeral=True)
    async with StatusView(zk, paths, NodeRole.HISTORICAL) as view:
        await view.wait_synced()
        assert view.statuses == {}
