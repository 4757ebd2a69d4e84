"""Watch streams: without a gap or a double event over any number of lost connections, or with a RESYNC that says so."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_server import OVER_NATIVE, MemoryServer, run_virtual, until
from trio.testing import MockClock

from coordserver.client import Client, SessionState, WatchEvent, WatchKind, WatchStream
from coordserver.core.model.errors import KeeperError, LimitExceededError
from coordserver.core.model.operations import WatchMode
from coordserver.core.serving.watches import missed

KINDS = {1: WatchKind.CREATED, 2: WatchKind.DELETED, 3: WatchKind.CHANGED, 4: WatchKind.CHILDREN}


def history(server: MemoryServer, path: str, *, recursive: bool, since: int) -> list[WatchEvent]:
    """What the server did, as a watch should tell it."""
    mode = WatchMode.PERSISTENT_RECURSIVE if recursive else WatchMode.PERSISTENT
    return [
        WatchEvent(KINDS[kind], at, zxid)
        for zxid, events in server.machine.ring.entries()
        if zxid > since
        for kind, at in missed(events, path, mode, ())
    ]


def short(events: Iterable[WatchEvent]) -> list[str]:
    return [f"{event.kind.value} {event.path}" for event in events]


async def everything(stream: WatchStream) -> list[WatchEvent]:
    """What has come, and comes within ten seconds."""
    found: list[WatchEvent] = []
    with trio.move_on_after(10):
        while True:
            found += await stream.next_batch()
    return found


@OVER_NATIVE
async def test_a_persistent_and_a_recursive_watch_of_one_path_tell_their_own(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, zk.watch("/a") as exact, zk.watch("/a", recursive=True) as below:
        await zk.create("/a")
        await zk.create("/a/b")
        await zk.create("/a/b/c")
        await zk.set("/a", b"1")
        await zk.set("/a/b", b"1")
        await zk.delete("/a/b/c")
        await zk.delete("/a/b")
        await zk.delete("/a")
        assert short(await everything(exact)) == [
            "created /a",
            "children /a",
            "changed /a",
            "children /a",
            "deleted /a",
        ]
        assert short(await everything(below)) == [
            "created /a",
            "created /a/b",
            "created /a/b/c",
            "changed /a",
            "changed /a/b",
            "deleted /a/b/c",
            "deleted /a/b",
            "deleted /a",
        ]


@OVER_NATIVE
async def test_what_happened_while_the_connection_was_gone_is_told(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, server.connect() as other, zk.watch("/", recursive=True) as events:
        await other.create("/a")
        assert short(await everything(events)) == ["created /a"]
        for peer in server.peers[:1]:
            peer.cut()
        await other.create("/b")
        await other.transaction().delete("/a").create("/a").commit()
        assert short(await everything(events)) == ["created /b", "deleted /a", "created /a"]
        assert len(server.dialled) == 3


@OVER_NATIVE
async def test_what_one_watch_missed_does_not_disturb_the_order_of_another(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, server.connect() as other:
        await other.create("/a")
        async with zk.watch("/a") as exact, zk.watch("/", recursive=True) as below:
            server.peers[0].cut()
            await other.set("/a", b"1")
            await other.create("/b")
            await other.set("/a", b"2")
            assert short(await everything(exact)) == ["changed /a", "changed /a"]
            assert short(await everything(below)) == ["changed /a", "created /b", "changed /a"]


async def test_below_the_floor_of_the_ring_the_stream_says_resync(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server: MemoryServer = await nursery.start(MemoryServer(ring=3).run)
    async with server.connect() as zk, server.connect() as other, zk.watch("/a", recursive=True) as events:
        await other.create("/a")
        assert short(await everything(events)) == ["created /a"]
        server.up = False
        server.peers[0].cut()
        for n in range(5):
            await other.create(f"/a/{n}")
        server.up = True
        assert short(await everything(events)) == ["resync /a"]
        await other.create("/a/after")
        assert short(await everything(events)) == ["created /a/after"]


async def test_a_new_session_says_resync_and_goes_on(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, zk.watch("/a") as exact, zk.watch("/", recursive=True) as below:
        await server.down_for(6)
        await until(zk, SessionState.CONNECTED)
        await zk.create("/a")
        assert short(await everything(exact)) == ["resync /a", "created /a"]
        assert short(await everything(below)) == ["resync /", "created /a"]


async def test_after_the_block_nothing_is_told_and_the_server_forgets(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk:
        async with zk.watch("/a") as first:
            async with zk.watch("/a") as second:
                await zk.create("/a")
            await zk.set("/a", b"1")
            assert short(await everything(second)) == ["created /a"]
            assert short(await everything(first)) == ["created /a", "changed /a"]
            assert server.engine.statistics().watches == 1
        await zk.sync()
        assert server.engine.statistics().watches == 0


@OVER_NATIVE
async def test_watches_that_come_and_go_in_an_outage_leave_nothing_behind(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk, zk.watch("/kept") as kept:
        server.up = False
        server.cut()
        await trio.testing.wait_all_tasks_blocked()
        for n in range(2_000):
            with trio.move_on_after(0.001):
                async with zk.watch(f"/{n % 7}"):
                    raise AssertionError("armed without a server")
        assert len(zk._session._calls) == 0
        server.up = True
        await zk.create("/kept")
        assert short(await everything(kept)) == ["created /kept"]
        assert server.engine.statistics().watches == 1


async def test_a_stream_too_far_behind_is_told_to_read_again(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, zk.watch("/a") as events:
        await zk.create("/a")
        for _ in range(1_024):
            await zk.set("/a", b"")
        assert short(await everything(events)) == ["resync /a"]
        await zk.set("/a", b"")
        assert short(await everything(events)) == ["changed /a"]


async def test_a_watch_that_the_server_refuses_raises(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    server: MemoryServer = await nursery.start(MemoryServer(watches=1).run)
    async with server.connect() as zk:
        async with zk.watch("/a"):
            with pytest.raises(LimitExceededError):
                async with zk.watch("/b"):
                    pass
        with pytest.raises(ValueError, match="absolute"):
            async with zk.watch("a"):
                pass
        assert list(zk._session.watches) == []


@OVER_NATIVE
async def test_wait_deleted_outlives_connection_and_session(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, server.connect(session_timeout=40) as other:
        await zk.wait_deleted("/nope")
        await other.create("/a")
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def wait() -> None:
                await zk.wait_deleted("/a")
                done.set()

            nursery.start_soon(wait)
            await trio.sleep(1)
            await server.down_for(6)
            await until(zk, SessionState.CONNECTED)
            await trio.sleep(1)
            assert not done.is_set()
            server.cut()
            await other.delete("/a")


_CUTS = st.lists(st.tuples(st.integers(60, 900), st.integers(60, 1_500)), max_size=12)
_PATHS = ("/a", "/a/b", "/a/b/c", "/a/d", "/e")
_CHANGES = st.lists(st.tuples(st.sampled_from(("put", "delete", "swap")), st.sampled_from(_PATHS)), max_size=40)


async def change(zk: Client, what: str, path: str) -> None:
    """Some write; that it is refused is as good."""
    try:
        if what == "put" and await zk.exists(path) is None:
            await zk.create(path, makepath=True)
        elif what == "put":
            await zk.set(path, b"x")
        elif what == "delete":
            await zk.delete(path)
        else:
            await zk.transaction().delete(path).create(path, b"again").commit()
    except KeeperError:
        pass
    except Exception as error:
        if type(error).__name__ != "TransactionFailedError":
            raise


@settings(deadline=None, max_examples=60)
@given(changes=_CHANGES, cuts=_CUTS, own=st.booleans())
def test_wherever_the_connection_breaks_a_stream_equals_the_servers_history(
    changes: list[tuple[str, str]], cuts: list[tuple[int, int]], own: bool
) -> None:
    """Connections break after any number of bytes, in requests, answers, events, replays and handshakes."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server: MemoryServer = await nursery.start(MemoryServer().run)
            async with server.connect(session_timeout=40) as zk, server.connect() as other:
                await zk.get("/")
                since = server.machine.zxid
                server.cuts.extend(cuts)
                server.peers[0].cut()
                writer = zk if own else other
                async with (
                    zk.watch("/a") as exact,
                    zk.watch("/a", recursive=True) as below,
                    zk.watch("/", recursive=True) as all_of_it,
                    zk.watch("/a/b") as deep,
                ):
                    for what, path in changes:
                        await change(writer, what, path)
                    server.cuts.clear()
                    await zk.sync()
                    for stream, path, recursive in (
                        (exact, "/a", False),
                        (below, "/a", True),
                        (all_of_it, "/", True),
                        (deep, "/a/b", False),
                    ):
                        seen = await everything(stream)
                        assert seen == history(server, path, recursive=recursive, since=since)
                assert zk.session_number == 1
            nursery.cancel_scope.cancel()

    run_virtual(main)
