"""Requests: answered in order, done once however often they are sent, and bounded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from memory_server import OVER_NATIVE, MemoryServer
from trio.testing import MockClock

from coordserver.client import (
    BadVersionError,
    ClientClosedError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OutcomeUnknownError,
    SessionExpiredError,
    TooLargeError,
    TransactionFailedError,
)
from coordserver.core.model.errors import BadArgumentsError


async def test_the_basics(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        created = await zk.create("/a", b"one")
        assert created.path == "/a"
        assert await zk.get("/a") == (b"one", created.stat)
        stat = await zk.set("/a", b"two", version=0)
        assert (stat.version, (await zk.exists("/a"))) == (1, stat)
        assert (await zk.create("/a/s-", sequence=True)).path == "/a/s-0000000000"
        assert await zk.children("/a") == ["s-0000000000"]
        with pytest.raises(NotEmptyError):
            await zk.delete("/a")
        with pytest.raises(NodeExistsError):
            await zk.create("/a")
        with pytest.raises(BadVersionError):
            await zk.set("/a", b"", version=0)
        with pytest.raises(NoNodeError, match="/nope"):
            await zk.get("/nope")
        assert await zk.exists("/nope") is None
        await zk.delete("/nope", missing_ok=True)
        await zk.sync()
        await zk.delete("/a/s-0000000000")
        await zk.delete("/a", version=1)
        assert await zk.children("/") == ["zookeeper"]


async def test_paths_are_made_and_trees_deleted(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.ensure_path("/x/y/z")
        await zk.ensure_path("/x/y/z")
        await zk.ensure_path("/")
        await zk.create("/x/q/r/s", b"deep", makepath=True)
        assert await zk.children("/x") == ["q", "y"]
        assert (await zk.get("/x/q")).stat.ephemeral_owner == 0
        await zk.delete_tree("/x")
        await zk.delete_tree("/x")
        assert await zk.exists("/x") is None


async def test_a_tree_that_others_add_to_is_deleted(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk, server.connect() as other, trio.open_nursery() as nursery:
        await zk.ensure_path("/x/y")

        async def disturb() -> None:
            for n in range(5):
                await other.create(f"/x/y/{n}", makepath=True)

        nursery.start_soon(disturb)
        await zk.delete_tree("/x")
        nursery.cancel_scope.cancel()


@OVER_NATIVE
@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
async def test_pending_requests_are_done_once_and_in_order(
    autojump_clock: MockClock, server: MemoryServer, when: str
) -> None:
    async with server.connect() as zk:
        await zk.create("/list")
        before = zk.session_id
        results: dict[int, str] = {}

        async def append(n: int) -> None:
            results[n] = (await zk.create("/list/n-", str(n).encode(), sequence=True)).path

        async def read() -> None:
            assert len(await zk.children("/list")) == 20  # behind the writes, also the second time

        server.mute = True
        server.hold = when == "before the commit"
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(append, n)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            server.cut()
            server.mute = server.hold = False
        assert results == {n: f"/list/n-{n:010}" for n in range(20)}
        assert len(await zk.children("/list")) == 20
        assert zk.session_id == before


@OVER_NATIVE
async def test_a_lost_session_says_what_is_known_of_each_request(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk:
        await zk.create("/a")
        outcomes: dict[str, type[BaseException] | None] = {}

        async def note(name: str, call: object) -> None:
            try:
                await call  # type: ignore[misc]
                outcomes[name] = None
            except (OutcomeUnknownError, SessionExpiredError) as error:
                outcomes[name] = type(error)

        async with trio.open_nursery() as nursery:
            server.mute = True
            nursery.start_soon(note, "sent write", zk.set("/a", b"1"))
            nursery.start_soon(note, "sent read", zk.get("/a"))
            await trio.testing.wait_all_tasks_blocked()
            server.up = False
            server.cut()
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(note, "unsent write", zk.set("/a", b"2"))
            await trio.sleep(6)
            server.up, server.mute = True, False
        assert outcomes == {
            "sent write": OutcomeUnknownError,
            "sent read": SessionExpiredError,
            "unsent write": SessionExpiredError,
        }
        assert (await zk.get("/a")).data == b"1"


async def test_a_cancelled_write_takes_effect_only_if_it_was_sent(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect() as zk:
        with server.holding():
            with trio.move_on_after(0):
                await zk.create("/never")  # cancelled before it was even queued
            with trio.move_on_after(0.05):
                await zk.create("/sent")
        assert await zk.exists("/sent") is not None
        server.up = False
        server.cut()
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01) as scope:
            await zk.create("/unsent")
        assert scope.cancelled_caught
        server.up = True
        assert await zk.exists("/unsent") is None
        assert await zk.exists("/never") is None


@OVER_NATIVE
async def test_a_write_sent_and_cancelled_is_sent_again(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        server.hold = True
        with trio.move_on_after(0.05):
            await zk.create("/a", b"by the cancelled one")
        server.restart()  # what was proposed is lost
        server.hold = False
        assert (await zk.get("/a")).data == b"by the cancelled one"


async def test_cancelled_callers_make_room(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server: MemoryServer = await nursery.start(MemoryServer(outstanding=3).run)
    async with server.connect() as zk:
        server.up = False
        server.cut()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as others:
            async with trio.open_nursery() as doomed:
                for n in range(3):
                    doomed.start_soon(zk.create, f"/doomed-{n}")
                await trio.testing.wait_all_tasks_blocked()
                for n in range(3):
                    others.start_soon(zk.create, f"/other-{n}")
                await trio.testing.wait_all_tasks_blocked()
                assert [call.path[:4] for call in zk._session._calls._unsent] == ["/doo"] * 3
                doomed.cancel_scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert [call.path[:4] for call in zk._session._calls._unsent] == ["/oth"] * 3
            server.up = True
        assert await zk.children("/") == ["other-0", "other-1", "other-2", "zookeeper"]


async def test_no_more_is_outstanding_than_the_server_allows(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    server: MemoryServer = await nursery.start(MemoryServer(outstanding=4).run)
    async with server.connect() as zk:
        numbers: dict[int, str] = {}

        async def create(n: int) -> None:
            numbers[n] = (await zk.create("/n-", sequence=True)).path

        with server.holding():
            async with trio.open_nursery() as tasks:
                for n in range(20):
                    tasks.start_soon(create, n)
                    await trio.testing.wait_all_tasks_blocked()
                assert server.peers[0].connection.outstanding == 4
                assert len(zk._session._calls) == 4
                server.hold = False
                server.turn()
        assert [numbers[n] for n in range(20)] == sorted(numbers.values())  # in the order of the calls


async def test_room_comes_back_when_a_connection_takes_its_own_requests_with_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A ping, or a watch armed again, fills a server's limit of one; lost with the connection, it must not be waited
    for."""
    server: MemoryServer = await nursery.start(MemoryServer(outstanding=1).run)
    async with server.connect() as zk:
        server.mute = True
        await trio.sleep(1.6)  # a ping is under way
        async with trio.open_nursery() as tasks:
            tasks.start_soon(zk.create, "/a")
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            server.cut()
            server.mute = False
        assert trio.current_time() - began < 1  # not only with the next ping


async def test_order_is_kept_when_the_connection_is_lost_again_while_sending_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Watches go first, so the limit lets only some of the writes out before the second loss."""
    server: MemoryServer = await nursery.start(MemoryServer(outstanding=4).run)
    numbers: dict[int, str] = {}
    async with server.connect() as zk, zk.watch("/a"), zk.watch("/b"), zk.watch("/c"):

        async def create(n: int) -> None:
            numbers[n] = (await zk.create("/n-", sequence=True)).path

        async with trio.open_nursery() as tasks:
            server.hold = True
            for n in range(4):
                tasks.start_soon(create, n)
                await trio.testing.wait_all_tasks_blocked()
            server.cuts.extend((1 << 20, size) for size in range(90, 200, 10))  # the welcome, and little more
            server.restart()  # none of the writes has taken effect
            server.hold = False
        assert not server.cuts
        assert [numbers[n] for n in range(4)] == sorted(numbers.values())


@OVER_NATIVE
async def test_bytes_of_the_backlog_are_bounded(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        for n in range(40):
            await zk.create(f"/{n}")
        data = b"x" * (1 << 20)
        with server.holding():
            async with trio.open_nursery() as tasks:
                for n in range(40):
                    tasks.start_soon(zk.set, f"/{n}", data)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert len(zk._session._calls) == 16
                server.hold = False
                server.turn()
        assert zk._session._calls._bytes == 0


async def test_what_cannot_be_sent_is_refused_and_the_rest_lives_on(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server: MemoryServer = await nursery.start(MemoryServer(frame_bytes=1_000).run)
    async with server.connect() as zk:
        with pytest.raises(TooLargeError, match="limit is 1000"):
            await zk.create("/a", b"x" * 1_000)
        with pytest.raises(BadArgumentsError):
            await zk.set("/a", b"", version=1 << 70)
        with pytest.raises(ValueError, match="not an absolute path"):
            await zk.get("a")
        with pytest.raises(BadArgumentsError):
            await zk.create("/zookeeper/..")
        with pytest.raises(ValueError, match="cannot be all of these"):
            await zk.create("/a", ephemeral=True, container=True)
        await zk.create("/a", b"x" * 900)
        assert len(server.dialled) == 1
        assert len(zk._session._calls) == 0


async def test_a_closed_client_says_so(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/a", ephemeral=True)
        told: list[ClientClosedError] = []

        async def expect_the_end(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(ClientClosedError) as caught:
                await call()
            told.append(caught.value)

        async with zk.watch("/a") as events, trio.open_nursery() as waiting:
            server.mute = True
            waiting.start_soon(expect_the_end, partial(zk.get, "/a"))
            waiting.start_soon(expect_the_end, events.next_batch)
            await trio.testing.wait_all_tasks_blocked()
            zk._session.stop()
        assert len(told) == 2
    with pytest.raises(ClientClosedError):
        await zk.get("/a")
    with pytest.raises(ClientClosedError):
        async with zk.watch("/a"):
            pass


async def test_leaving_the_block_ends_the_session(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as other:
        async with server.connect() as zk:
            await zk.create("/here", ephemeral=True)
            assert await other.exists("/here") is not None
        assert await other.exists("/here") is None


async def test_a_transaction_is_all_or_nothing(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/a", b"0")
        made, changed, deleted, checked = (
            await zk.transaction().create("/a/b", b"x").set("/a", b"1", 0).delete("/a/b").check("/a", 1).commit()
        )
        assert made.path == "/a/b"
        assert changed.stat is not None
        assert changed.stat.version == 1
        assert made.stat is not None
        assert changed.stat.mzxid == made.stat.czxid == made.zxid
        assert deleted == checked == ("", None, made.zxid)
        with pytest.raises(TransactionFailedError, match="operation 1: BadVersion: /a") as caught:
            await zk.transaction().create("/c").check("/a", 7).delete("/nope").commit()
        assert (caught.value.index, type(caught.value.cause)) == (1, BadVersionError)
        with pytest.raises(TransactionFailedError) as caught:
            await zk.transaction().check("/c").create("/d").commit()
        assert (caught.value.index, type(caught.value.cause)) == (0, NoNodeError)
        assert await zk.children("/") == ["a", "zookeeper"]
        assert await zk.transaction().commit() == []


async def test_many_reads_at_once(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        await zk.create("/a/b", b"2", makepath=True)
        nodes = await zk.read_many(["/a", "/nope", "/a/b"])
        assert [node and node.data for node in nodes] == [b"", None, b"2"]
        both = await zk.read_with_children(["/nope", "/a"])
        assert both[0] is None
        assert both[1] is not None
        assert both[1][1] == ["b"]
