"""An announcement: there as long as the block lasts, over sessions, without fighting a successor."""

from __future__ import annotations

import trio
from memory_server import MemoryServer, until
from trio.testing import MockClock

from coordserver.client import SessionState, announced

PATH = "/druid/announcements/host:8083"


async def test_it_is_there_for_the_block_and_its_parents_stay(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        async with announced(zk, PATH, b"1") as announcement:
            data, stat = await zk.get(PATH)
            assert (data, stat.ephemeral_owner) == (b"1", zk.session_id)
            assert announcement.standing
            await announcement.update(b"2")
            assert (await zk.get(PATH)).data == b"2"
        assert await zk.exists(PATH) is None
        assert await zk.children("/druid") == ["announcements"]


async def test_a_new_session_announces_again(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, announced(zk, PATH, b"1") as announcement:
        await server.down_for(6)
        await until(zk, SessionState.LOST)
        assert not announcement.standing
        await trio.sleep(1)
        data, stat = await zk.get(PATH)
        assert (data, stat.ephemeral_owner) == (b"1", zk.session_id)
        assert announcement.standing


async def test_what_somebody_deleted_comes_back_with_the_newest_data(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, announced(zk, PATH, b"1") as announcement:
        await announcement.update(b"2")
        await zk.delete(PATH)
        await trio.sleep(1)
        assert (await zk.get(PATH)).data == b"2"


async def test_a_predecessors_is_replaced_unseen_and_a_successors_left_alone(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as old, server.connect() as new, server.connect() as onlooker:
        async with announced(old, PATH, b"old") as first, onlooker.cache(PATH) as cache:
            await cache.wait_synced()
            await cache.next_changes()
            async with announced(new, PATH, b"new"):
                (change,) = await cache.next_changes()
                assert change.new is not None
                assert change.new.data == b"new"
                await trio.sleep(5)
                await first.update(b"stubborn")
                assert not first.standing
                data, stat = await onlooker.get(PATH)
                assert (data, stat.ephemeral_owner) == (b"new", new.session_id)
            await trio.sleep(1)  # the successor has gone, the first stands in again
            assert (await onlooker.get(PATH)).data == b"stubborn"
            assert first.standing
        assert await onlooker.exists(PATH) is None


async def test_it_does_not_remove_a_successors(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as old, server.connect() as new:
        async with announced(old, PATH, b"old"):
            await new.transaction().delete(PATH).create(PATH, b"new", ephemeral=True).commit()
        assert (await new.get(PATH)).data == b"new"
