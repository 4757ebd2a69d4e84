"""What ends the body of a term: each signal × each shape of body. The contender stands by, and no fault is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from memory_server import MemoryServer, until
from trio.testing import MockClock

from coordserver.client import Client, ConnectionLossError, LeaderLatch, SessionState, Term

PARENT = "/druid/overlord/_OVERLORD"

Body = Callable[[Client, Term], Awaitable[None]]


async def write(zk: Client, term: Term) -> None:
    await term.check(zk.transaction()).create("/of-the-term").commit()


async def alone(zk: Client, term: Term) -> None:
    """One task that waits for its write."""
    await write(zk, term)
    await trio.sleep_forever()


async def beside(zk: Client, term: Term) -> None:
    """The write is a child's, and the parent waits: the failure and the cancellation come together."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, zk, term)
        await trio.sleep_forever()


async def deep(zk: Client, term: Term) -> None:
    """Groups within groups."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beside, zk, term)
        nursery.start_soon(beside, zk, term)
        await trio.sleep_forever()


async def forced(zk: Client, term: Term) -> None:
    """Cancelled while the write waits, and failed by it in the same turn, whatever the scheduler does."""

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await write(zk, term)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shielded)
        await trio.sleep_forever()


BODIES = (alone, beside, deep, forced)


class Terms:
    """A contender whose first term has the body under test; later ones wait."""

    def __init__(self, zk: Client, body: Body) -> None:
        self.terms: list[Term] = []
        self._zk = zk
        self._body = body

    async def lead(self, term: Term) -> None:
        self.terms.append(term)
        if len(self.terms) == 1:
            await self._body(self._zk, term)
        await trio.sleep_forever()


@pytest.mark.parametrize("body", BODIES)
async def test_a_session_that_ends_with_a_pending_write_leads_to_standing_by(
    autojump_clock: MockClock, server: MemoryServer, body: Body
) -> None:
    async with server.connect("a:1") as zk, trio.open_nursery() as nursery:
        terms = Terms(zk, body)
        latch = LeaderLatch(zk, PARENT, "a")

        async def lead(term: Term) -> None:
            server.mute = len(terms.terms) == 0  # the answer of the first term's write never comes
            await terms.lead(term)

        nursery.start_soon(latch.run, lead)
        await trio.sleep(1)
        server.unreachable.add("a")
        server.peers[0].cut()
        await trio.sleep(30)
        server.mute = False
        server.unreachable.clear()
        await until(zk, SessionState.CONNECTED)
        await trio.sleep(30)
        assert len(terms.terms) == 2
        assert latch.term == terms.terms[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("body", BODIES)
async def test_a_latch_znode_that_goes_with_a_pending_write_leads_to_standing_by(
    autojump_clock: MockClock, server: MemoryServer, body: Body
) -> None:
    async with server.connect() as zk, server.connect() as other, trio.open_nursery() as nursery:

        async def deposed(zk: Client, term: Term) -> None:
            await other.delete(term.path)  # and the body writes before it hears of it
            await body(zk, term)

        terms = Terms(zk, deposed)
        nursery.start_soon(LeaderLatch(zk, PARENT, "a").run, terms.lead)
        await trio.sleep(5)
        assert len(terms.terms) == 2
        nursery.cancel_scope.cancel()


class Fault(Exception):
    """Of the body."""


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("deposed", [False, True])
async def test_a_fault_of_the_body_comes_out_whatever_ends_the_term(
    autojump_clock: MockClock, server: MemoryServer, grouped: bool, deposed: bool
) -> None:
    async with server.connect() as zk, server.connect() as other:

        async def fail(term: Term) -> None:
            with trio.CancelScope(shield=True):
                if deposed:
                    await other.delete(term.path)
                    await trio.sleep(1)
                raise Fault

        async def body(term: Term) -> None:
            if not grouped:
                await fail(term)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, term)
                await trio.sleep_forever()

        with pytest.raises(Fault):
            await LeaderLatch(zk, PARENT, "a").run(body)


@pytest.mark.parametrize("fault", [None, Fault])
async def test_a_cancellation_from_outside_goes_on_and_takes_a_fault_with_it(
    autojump_clock: MockClock, server: MemoryServer, fault: type[Exception] | None
) -> None:
    seen: list[BaseException] = []
    async with server.connect() as zk:

        async def body(term: Term) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    if fault is not None:
                        nursery.start_soon(_raise, fault)

        async def run() -> None:
            try:
                await LeaderLatch(zk, PARENT, "a").run(body)
            except BaseException as error:
                seen.append(error)
                raise

        async def outer() -> None:
            with trio.move_on_after(1) as scope:
                await run()
            assert scope.cancelled_caught

        if fault is None:
            await outer()
        else:
            with pytest.RaisesGroup(fault, flatten_subgroups=True):
                await outer()
        assert len(seen) == 1


async def _raise(fault: type[Exception]) -> None:
    raise fault


@pytest.mark.parametrize("times", [1, 2])
async def test_after_passing_faults_in_a_group_the_latch_is_contended_for_again(
    autojump_clock: MockClock, server: MemoryServer, times: int
) -> None:
    async with server.connect() as zk, trio.open_nursery() as nursery:

        async def lost(zk: Client, term: Term) -> None:
            async with trio.open_nursery() as inner:
                for _ in range(times):
                    inner.start_soon(_raise, ConnectionLossError)

        terms = Terms(zk, lost)
        nursery.start_soon(LeaderLatch(zk, PARENT, "a").run, terms.lead)
        await trio.sleep(5)
        assert len(terms.terms) == 2
        nursery.cancel_scope.cancel()
