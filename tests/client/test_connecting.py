"""Finding a server: hosts in turn, waits that grow, and errors that say what each server did."""

from __future__ import annotations

import itertools
import random
from functools import partial

import pytest
import trio
from memory_server import MemoryServer, run_virtual
from trio.testing import MockClock

from coordserver.client import ConnectError, SessionState, connect
from coordserver.client.transport import Host, StreamTransport, Transport, parse_hosts


def test_hosts_are_read_and_what_is_wrong_is_named() -> None:
    assert parse_hosts("a:1, b,[::1]:7,[::2]") == [("a", 1), ("b", 2181), ("::1", 7), ("::2", 2181)]
    assert [str(host) for host in parse_hosts("a:1,[::1]:7")] == ["a:1", "[::1]:7"]
    for wrong in ("", "a:b", "a:0", "a:65536", ":1", "[::1", "[::1]7", "a,,b"):
        with pytest.raises(ValueError, match="not HOST:PORT"):
            parse_hosts(wrong)


async def test_no_server_in_time_is_told_with_the_reason(autojump_clock: MockClock, server: MemoryServer) -> None:
    server.up = False
    with pytest.raises(
        ConnectError, match=r"no session at (zk://)?one:1,two:2 within 3 s; last: (one:1: one|two:2: two) is down"
    ):
        async with server.connect("one:1,two:2", connect_within=3):
            pass


async def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(autojump_clock: MockClock) -> None:
    async def dial(host: Host) -> Transport:
        ours, _ = trio.testing.memory_stream_pair()
        return StreamTransport(ours)

    with pytest.raises(ConnectError, match="last: one:1: no answer"):
        async with connect("one:1", dial=dial, connect_within=5):
            pass


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed the connection in the handshake"),
        (b"HTTP/1.1 400 Bad Request", "native protocol|msgpack"),
        (b"\x93\x01\x02\x03", "native protocol"),
    ],
)
async def test_something_else_at_that_port(autojump_clock: MockClock, answer: bytes, why: str) -> None:
    async def dial(host: Host) -> Transport:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(answer)
        await theirs.send_eof()
        return StreamTransport(ours)

    with pytest.raises(ConnectError, match=why):
        async with connect("one:1", dial=dial, connect_within=5):
            pass


async def test_hosts_are_tried_in_turn_then_ever_more_slowly(autojump_clock: MockClock, server: MemoryServer) -> None:
    server.up = False
    with pytest.raises(ConnectError):
        async with server.connect("one:1,two:2,three:3", connect_within=20):
            pass
    names = [name for _, name in server.dialled]
    assert names == [("one", "two", "three")[n % 3] for n in range(len(names))]
    times = [time for time, _ in server.dialled]
    assert times[2] == times[0]
    waits = [after - before for before, after in itertools.pairwise(times[2:])]
    assert all(0.02 < wait <= 2 for wait in waits)
    assert max(waits[:3]) < 0.1
    assert min(waits[-3:]) >= 1


async def test_a_dead_host_of_the_list_is_passed_over(autojump_clock: MockClock, server: MemoryServer) -> None:
    async def dial(host: Host) -> Transport:
        if host.name == "dead":
            raise OSError("unreachable")
        return await server.dial(host)

    async with server.connect("dead:1,one:1", dial=dial) as zk:
        assert zk.state is SessionState.CONNECTED


async def test_who_retries_for_ever_is_served_at_last(autojump_clock: MockClock, server: MemoryServer) -> None:
    server.up = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.down_for, 60)
        async with server.connect(retry_forever=True) as zk:
            assert zk.session_number == 1
            assert trio.current_time() >= 60


async def test_a_server_that_only_welcomes_is_not_hammered(autojump_clock: MockClock, server: MemoryServer) -> None:
    """It gives the session and cuts the connection before anything is answered, again and again."""
    async with server.connect("one:1,two:2") as zk:
        await zk.get("/")
        server.cuts.extend([(1 << 20, 120)] * 40)  # the welcome and a part of the next answer
        began, dialled = trio.current_time(), len(server.dialled)
        server.cut()
        await zk.get("/")
        assert not server.cuts
        assert {name for _, name in server.dialled[dialled:]} == {"one", "two"}
        assert trio.current_time() - began > 10


def test_cancelled_at_any_checkpoint_it_leaves_nothing_behind() -> None:
    """Cancel at the n-th step of connecting, working and closing, for every n until one run meets no cancellation."""

    async def run_and_cancel_after(steps: int) -> bool:
        async with trio.open_nursery() as nursery:
            server: MemoryServer = await nursery.start(MemoryServer().run)
            dialled = _Counted(server, steps)
            with trio.CancelScope() as scope:
                dialled.scope = scope
                async with server.connect(dial=dialled.dial, rng=random.Random(0)) as zk:
                    await zk.create("/a", ephemeral=True, makepath=True)
                    async with zk.watch("/a") as events:
                        await zk.set("/a", b"1")
                        await anext(events)
            await trio.sleep(30)  # a session that could not be closed expires
            assert server.peers == []
            assert server.engine.statistics().sessions == 0
            assert "a" not in server.machine.tree.nodes["/"].children
            nursery.cancel_scope.cancel()
        return dialled.met

    for steps in range(1, 200):
        if not run_virtual(partial(run_and_cancel_after, steps)):
            assert steps > 10
            return
    raise AssertionError("no run came to its end")


class _Counted:
    """Dials a server, and cancels a scope when so many things were done on the connection."""

    def __init__(self, server: MemoryServer, steps: int) -> None:
        self.server = server
        self.left = steps
        self.met = False
        self.scope: trio.CancelScope | None = None

    def count(self) -> None:
        self.left -= 1
        if self.left == 0 and self.scope is not None:
            self.met = True
            self.scope.cancel()

    async def dial(self, host: Host) -> Transport:
        self.count()
        inner = await self.server.dial(host)
        self.count()
        return _CountedTransport(inner, self)


class _CountedTransport:
    def __init__(self, inner: Transport, counted: _Counted) -> None:
        self.inner, self.counted = inner, counted

    def try_send(self, data: bytes) -> int:
        self.counted.count()
        return self.inner.try_send(data)

    async def send_all(self, data: bytes) -> None:
        self.counted.count()
        await self.inner.send_all(data)
        self.counted.count()

    async def receive(self) -> bytes:
        self.counted.count()
        data = await self.inner.receive()
        self.counted.count()
        return data

    async def close(self) -> None:
        self.counted.count()
        await self.inner.close()
