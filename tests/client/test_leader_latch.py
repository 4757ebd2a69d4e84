"""Electing a leader: one at a time, handed over at once, with an epoch that rises and a check that fences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from memory_server import MemoryServer, until
from trio.testing import MockClock

from coordserver.client import (
    Client,
    LeaderLatch,
    NoNodeError,
    SessionState,
    Term,
    TransactionFailedError,
    leader,
)

PARENT = "/druid/coordinator/_COORDINATOR"


class Stage:
    """Who leads, by what the bodies do."""

    def __init__(self) -> None:
        self.leading: list[str] = []
        self.terms: list[tuple[str, Term]] = []

    def body(self, name: str, ends: Callable[[], trio.Event] | None = None):  # type: ignore[no-untyped-def]
        async def lead(term: Term) -> None:
            assert self.leading == [], "two lead"
            self.leading.append(name)
            self.terms.append((name, term))
            try:
                await (ends() if ends is not None else trio.Event()).wait()
            finally:
                self.leading.remove(name)

        return lead


async def settle() -> None:
    await trio.sleep(1)


async def test_one_leads_and_the_next_follows_when_it_stops(autojump_clock: MockClock, server: MemoryServer) -> None:
    stage = Stage()
    async with server.connect() as a, server.connect() as b, server.connect() as c, trio.open_nursery() as nursery:
        scopes = {}
        for name, zk in (("a", a), ("b", b), ("c", c)):

            async def contend(name: str, zk: Client) -> None:
                with trio.CancelScope() as scopes[name]:
                    await LeaderLatch(zk, PARENT, f"http://{name}").run(stage.body(name))

            nursery.start_soon(contend, name, zk)
            await settle()
        assert stage.leading == ["a"]
        assert await leader(c, PARENT) == (f"http://{stage.leading[0]}", stage.terms[0][1].epoch)
        scopes["b"].cancel()  # who only waits may go, too
        await settle()
        assert stage.leading == ["a"]
        scopes["a"].cancel()
        await settle()
        assert stage.leading == ["c"]
        assert [name for name, _ in stage.terms] == ["a", "c"]
        assert stage.terms[0][1].epoch < stage.terms[1][1].epoch
        scopes["c"].cancel()
        await settle()
        assert await leader(a, PARENT) is None
        assert await a.children(PARENT) == []
        stat = await a.exists(PARENT)
        assert stat is not None


async def test_a_body_that_returns_gives_the_turn_away(autojump_clock: MockClock, server: MemoryServer) -> None:
    stage, over = Stage(), trio.Event()
    async with server.connect() as a, server.connect() as b, trio.open_nursery() as nursery:
        nursery.start_soon(LeaderLatch(a, PARENT, "a").run, stage.body("a", lambda: over))
        await settle()
        nursery.start_soon(LeaderLatch(b, PARENT, "b").run, stage.body("b"))
        await settle()
        assert stage.leading == ["a"]
        over.set()
        await settle()
        assert stage.leading == ["b"]
        assert len(await a.children(PARENT)) == 2
        nursery.cancel_scope.cancel()


async def test_a_lost_connection_alone_changes_nothing(autojump_clock: MockClock, server: MemoryServer) -> None:
    stage = Stage()
    async with server.connect() as a, trio.open_nursery() as nursery:
        nursery.start_soon(LeaderLatch(a, PARENT, "a").run, stage.body("a"))
        await settle()
        server.cut()
        await settle()
        await server.down_for(2)
        await settle()
        assert stage.leading == ["a"]
        assert len(stage.terms) == 1
        nursery.cancel_scope.cancel()


async def test_a_lost_session_ends_the_term_and_the_other_leads(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    stage = Stage()
    async with (
        server.connect("a:1") as a,
        server.connect("b:1", session_timeout=40) as b,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(LeaderLatch(a, PARENT, "a").run, stage.body("a"))
        await settle()
        nursery.start_soon(LeaderLatch(b, PARENT, "b").run, stage.body("b"))
        await settle()
        server.unreachable.add("a")
        server.peers[0].cut()
        fenced = stage.terms[0][1].check(a.transaction()).create("/by-the-old-leader")
        stage.leading.clear()  # nobody told a yet: this is what fencing is for
        await trio.sleep(6)
        assert [name for name, _ in stage.terms] == ["a", "b"]
        stage.leading.append("a")
        server.unreachable.clear()
        await until(a, SessionState.CONNECTED)
        await settle()
        assert stage.leading == ["b"]
        with pytest.raises(TransactionFailedError) as caught:
            await fenced.commit()
        assert (caught.value.index, type(caught.value.cause)) == (0, NoNodeError)
        await stage.terms[1][1].check(b.transaction()).create("/by-the-new-leader").commit()
        assert len(await b.children(PARENT)) == 2
        nursery.cancel_scope.cancel()


async def test_a_latch_znode_deleted_by_somebody_ends_the_term(autojump_clock: MockClock, server: MemoryServer) -> None:
    stage = Stage()
    async with server.connect() as a, trio.open_nursery() as nursery:
        nursery.start_soon(LeaderLatch(a, PARENT, "a").run, stage.body("a"))
        await settle()
        await a.delete(stage.terms[0][1].path)
        await settle()
        assert [name for name, _ in stage.terms] == ["a", "a"]
        assert stage.terms[0][1].epoch < stage.terms[1][1].epoch
        nursery.cancel_scope.cancel()


async def test_who_stops_while_the_connection_is_gone_leaves_no_place_behind(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    """The session survives, so a znode left behind would stand before everybody else for as long as it lives."""
    stage, over = Stage(), trio.Event()
    async with server.connect(session_timeout=40) as a, trio.open_nursery() as nursery:
        nursery.start_soon(LeaderLatch(a, PARENT, "a").run, stage.body("a", lambda: over))
        await settle()
        server.up = False
        server.cut()
        await until(a, SessionState.SUSPENDED)
        over.set()
        await trio.sleep(5)
        server.up = True
        over = trio.Event()
        await until(a, SessionState.CONNECTED)
        await settle()
        assert stage.leading == ["a"]
        assert len(stage.terms) >= 2
        assert len(await a.children(PARENT)) == 1
        nursery.cancel_scope.cancel()


async def test_an_exception_of_the_body_ends_the_latch(autojump_clock: MockClock, server: MemoryServer) -> None:
    async def body(term: Term) -> None:
        raise KeyError("of the body")

    async with server.connect() as a:
        with pytest.raises(KeyError, match="of the body"):
            await LeaderLatch(a, PARENT, "a").run(body)
        assert await leader(a, PARENT) is None


async def test_a_refusal_by_the_fence_contends_again(autojump_clock: MockClock, server: MemoryServer) -> None:
    terms: list[Term] = []

    async with server.connect() as a, trio.open_nursery() as nursery:

        async def body(term: Term) -> None:
            terms.append(term)
            if len(terms) == 1:
                with trio.CancelScope(shield=True):
                    await a.delete(term.path)
                    await term.check(a.transaction()).create("/x").commit()
            nursery.cancel_scope.cancel()

        nursery.start_soon(LeaderLatch(a, PARENT, "a").run, body)
    assert len(terms) == 2


async def test_nobody_leads_where_there_is_no_latch(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as a:
        assert await leader(a, PARENT) is None
        await a.create(PARENT + "/something-else", makepath=True)
        assert await leader(a, PARENT) is None
