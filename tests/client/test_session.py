"""The session: resumed, kept alive, lost and replaced."""

from __future__ import annotations

import pytest
import trio
from memory_server import MemoryServer, until
from trio.testing import MockClock

from coordserver.client import Client, SessionState
from coordserver.core.serving.connection import Hello


async def _states_until(zk: Client, last: SessionState, seen: list[SessionState]) -> None:
    async with zk.states() as states:
        async for state in states:
            seen.append(state)
            if len(seen) > 1 and state is last:
                return


async def test_a_lost_connection_is_replaced(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, trio.open_nursery() as nursery:
        await zk.create("/here", ephemeral=True)
        before, seen = zk.session_id, list[SessionState]()
        nursery.start_soon(_states_until, zk, SessionState.CONNECTED, seen)
        await trio.testing.wait_all_tasks_blocked()
        server.cut()
        stat = await zk.exists("/here")
        assert stat is not None
        assert stat.ephemeral_owner == zk.session_id == before
        assert zk.session_number == 1
    assert seen == [SessionState.CONNECTED, SessionState.SUSPENDED, SessionState.CONNECTED]


async def test_the_session_survives_a_restart_of_the_server(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/here", ephemeral=True)
        before = zk.session_id
        server.restart()
        assert await zk.exists("/here") is not None
        assert zk.session_id == before


async def test_a_session_that_ended_is_replaced_by_a_new_one(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, trio.open_nursery() as nursery:
        await zk.create("/here", ephemeral=True)
        before, seen = zk.session_id, list[SessionState]()
        nursery.start_soon(_states_until, zk, SessionState.CONNECTED, seen)
        await trio.testing.wait_all_tasks_blocked()
        await server.down_for(6)
        await until(zk, SessionState.CONNECTED)
        assert await zk.exists("/here") is None
        assert zk.session_id != before
        assert zk.session_number == 2
    assert seen == [SessionState.CONNECTED, SessionState.SUSPENDED, SessionState.LOST, SessionState.CONNECTED]


async def test_an_idle_client_keeps_its_session(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/here", ephemeral=True)
        await trio.sleep(300)
        assert len(server.dialled) == 1
        assert await zk.exists("/here") is not None


async def test_a_client_that_only_hears_pings(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as busy, server.connect() as listener, listener.watch("/", recursive=True):
        await busy.create("/x")
        for _ in range(100):
            await busy.set("/x", b"")
            await trio.sleep(0.5)
        assert len(server.dialled) == 2


async def test_a_silent_server_is_left_for_another(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect("one:1,two:2") as zk:
        before = zk.session_id
        server.mute = True
        await trio.sleep(2)
        assert zk.state is SessionState.CONNECTED
        await trio.sleep(1)  # two thirds of the timeout of 4 s are over
        assert zk.state is SessionState.SUSPENDED
        server.mute = False
        await zk.get("/")
        assert zk.session_id == before


async def test_whoever_moves_the_session_has_it(autojump_clock: MockClock, server: MemoryServer) -> None:
    """The old connection is told, and takes the session back; each does so ever more slowly."""
    async with server.connect() as zk:
        await zk.create("/a")
        first = server.peers[0]
        server.engine.connect(  # another connection comes with the session's password
            _Nobody(), Hello(zk.session_id, zk.session_password, 4000), (), server.now_ms, server.wall_ms
        )
        server.turn()
        await zk.get("/a")
        assert first not in server.peers
        assert zk.session_number == 1


async def test_closing_while_no_server_is_there_takes_a_second(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect():
        server.up = False
        server.cut()
        await trio.sleep(0.5)
        began = trio.current_time()
    assert 0.9 < trio.current_time() - began < 1.1


async def test_a_body_that_fails_comes_out_bare(autojump_clock: MockClock, server: MemoryServer) -> None:
    with pytest.raises(KeyError, match="of the body"):  # noqa: PT012 - the block is what fails
        async with server.connect() as zk:
            await zk.create("/here", ephemeral=True)
            raise KeyError("of the body")
    assert server.engine.statistics().sessions == 0


async def test_who_is_cancelled_still_closes_its_session(autojump_clock: MockClock, server: MemoryServer) -> None:
    with trio.move_on_after(1):
        async with server.connect():
            await trio.sleep_forever()
    assert server.engine.statistics().sessions == 0


class _Nobody:
    """A connection that hears nothing."""

    def reply(self, *_: object) -> None: ...

    def events(self, *_: object) -> None: ...

    def welcome(self, *_: object) -> None: ...

    def close(self, *_: object) -> None: ...
