"""What differs where the server is a ZooKeeper: writes that are lost with their connection, watches that cannot resume.

Everything else of this folder runs over both protocols.
"""

from __future__ import annotations

import pytest
import trio
from memory_server import OVER_JUTE, MemoryServer, until
from trio.testing import MockClock

from coordserver.client import (
    ConnectionLossError,
    LeaderLatch,
    SessionState,
    Term,
    TooLargeError,
    WatchKind,
    announced,
    leader,
)

pytestmark = OVER_JUTE

PARENT = "/druid/coordinator/_COORDINATOR"


async def test_writes_under_way_are_lost_with_the_connection_and_reads_are_not(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk:
        await zk.create("/a", b"before")
        outcomes: list[object] = []

        async def write() -> None:
            try:
                outcomes.append(await zk.set("/a", b"after"))
            except ConnectionLossError as lost:
                outcomes.append(type(lost))

        async def read() -> None:
            outcomes.append((await zk.get("/a")).data)

        server.hold = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            server.cut()
            await trio.testing.wait_all_tasks_blocked()
            server.hold = False
            server.turn()
        assert outcomes == [ConnectionLossError, b"after"]


async def test_writes_that_never_left_wait_for_the_next_connection(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk:
        server.up = False
        server.cut()
        await until(zk, SessionState.SUSPENDED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zk.create, "/a")
            await trio.sleep(1)
            server.up = True
        assert await zk.exists("/a") is not None


async def test_what_is_too_large_is_refused_and_the_rest_lives_on(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk:
        await zk.create("/a", b"1")
        with pytest.raises(TooLargeError):
            await zk.set("/a", bytes(1 << 20))
        assert (await zk.get("/a")).data == b"1"
        assert zk.state is SessionState.CONNECTED
        assert len(server.dialled) == 1


async def test_streams_say_resync_after_each_reconnect(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, server.connect() as other, zk.watch("/a") as exact, zk.watch("/a") as twice:
        await other.create("/a")
        for events in (exact, twice):
            event = await anext(events)
            assert (event.kind, event.zxid) == (WatchKind.CREATED, -1)
        server.cut()
        await until(other, SessionState.CONNECTED)
        for events in (exact, twice):
            assert (await anext(events)).kind is WatchKind.RESYNC
        await other.get("/a")
        await other.set("/a", b"1")
        assert (await anext(exact)).kind is WatchKind.CHANGED


async def test_every_event_of_one_transaction_is_told(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, zk.watch("/", recursive=True) as events:
        await zk.transaction().create("/a").create("/a/b").set("/a", b"").delete("/a/b").commit()
        await zk.sync()
        assert [(event.kind.value, event.path) for event in await events.next_batch()] == [
            ("created", "/a"),
            ("created", "/a/b"),
            ("changed", "/a"),
            ("deleted", "/a/b"),
        ]


async def test_a_path_watched_both_ways_keeps_what_is_left(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, zk.watch("/a") as exact:
        async with zk.watch("/a", recursive=True) as below:
            await zk.create("/a")
            await zk.create("/a/b")
            await zk.sync()
            assert {event.kind for event in await exact.next_batch()} == {WatchKind.CREATED, WatchKind.CHILDREN}
            assert [event.path for event in await below.next_batch()] == ["/a", "/a/b"]
        await zk.create("/a/c")
        await zk.sync()
        assert {event.kind for event in await exact.next_batch()} == {WatchKind.CHILDREN}


async def test_a_contender_whose_create_lost_its_answer_finds_its_place(
    autojump_clock: MockClock, server: MemoryServer, nursery: trio.Nursery
) -> None:
    async with server.connect() as zk:
        await zk.ensure_path(PARENT)
        terms: list[Term] = []

        async def lead(term: Term) -> None:
            terms.append(term)
            await trio.sleep_forever()

        server.mute = True
        nursery.start_soon(LeaderLatch(zk, PARENT, "http://me").run, lead)
        await trio.sleep(0.5)
        server.cut()
        server.mute = False
        await trio.sleep(1)
        assert len(await zk.children(PARENT)) == 1
        assert [term.path for term in terms] == [f"{PARENT}/{(await zk.children(PARENT))[0]}"]
        found = await leader(zk, PARENT)
        assert found is not None
        assert found.participant == "http://me"
        nursery.cancel_scope.cancel()


async def test_an_announcement_whose_create_lost_its_answer_stands(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, server.connect() as other:
        await zk.ensure_path("/here")
        async with trio.open_nursery() as nursery:

            async def announce() -> None:
                async with announced(zk, "/here/me", b"1") as announcement:
                    assert announcement.standing
                    await trio.sleep(3)

            nursery.start_soon(announce)
            for _ in range(4):
                await trio.sleep(0.21)
                server.cut()
            await trio.sleep(1)
            assert (await other.get("/here/me")).data == b"1"
        assert await other.exists("/here/me") is None
