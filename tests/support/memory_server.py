"""The real engine and native connection behind memory streams, in virtual time: a server for tests of the client.

There is no disk: what is proposed is committed at once, unless `hold` keeps it. The wire can be cut, go down, fall
silent, or break after so many bytes.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

from coordserver.client import Client, SessionState, connect
from coordserver.client.transport import Host, StreamTransport, Transport
from coordserver.core.model.access import Credentials
from coordserver.core.model.errors import WireError
from coordserver.core.model.limits import EngineLimits
from coordserver.core.serving.engine import Engine
from coordserver.core.state.machine import Machine
from coordserver.core.state.ring import EventRing
from coordserver.wire.jute.connection import JuteConnection
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.connection import NativeConnection
from coordserver.wire.output import Output
from coordserver.wire.port import ServedConnection

TICK_S = 0.1
WALL_MS = 1_700_000_000_000
UNLIMITED = 1 << 60
LONGEST_S = 600.0  # of virtual time: what waits longer waits for ever

T = TypeVar("T")

OVER_NATIVE = pytest.mark.parametrize("server", ["native"], indirect=True)
"""For tests of what only the native protocol promises."""
OVER_JUTE = pytest.mark.parametrize("server", ["jute"], indirect=True)


def run_virtual(main: Callable[[], Awaitable[T]]) -> T:
    """Run in virtual time; for property tests, whose every example is a run of its own."""
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def until(zk: Client, state: SessionState) -> None:
    """Wait for a state of the session."""
    async with zk.states() as states:
        async for found in states:
            if found is state:
                return


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: MemoryServer, stream: trio.StapledStream[Any, Any], budget: tuple[int, int]) -> None:
        self.stream = stream
        self.may_receive, self.may_send = budget
        self.woken = trio.Event()
        self.scope = trio.CancelScope()
        self.output = Output(self.wake, soft=1 << 20, hard=1 << 24)
        self.connection: ServedConnection = (
            JuteConnection(server.engine, self.output, server.wire_limits, credentials=server.credentials)
            if server.zookeeper
            else NativeConnection(server.engine, self.output, server.wire_limits, credentials=server.credentials)
        )

    def wake(self) -> None:
        self.woken.set()

    def cut(self) -> None:
        """Lose the connection, and what was not sent yet."""
        self.scope.cancel()
        self.stream.send_stream.close()
        self.stream.receive_stream.close()


class MemoryServer:
    """A server whose clients come through `dial`. Start `run` in a nursery."""

    def __init__(
        self,
        *,
        ring: int = 50_000,
        outstanding: int = 1_000,
        frame_bytes: int = 1 << 22,
        watches: int = 1_000,
        zookeeper: bool = False,
        enforced: Sequence[str] = (),
    ) -> None:
        self.credentials = Credentials(enforced=enforced)
        self.zookeeper = zookeeper  # speak its protocol
        self.machine = Machine.new(b"h" * 16)
        self.machine.ring = EventRing(ring)
        self.wire_limits = WireLimits(outstanding=outstanding, frame_bytes=frame_bytes)
        self.engine_limits = EngineLimits(outstanding_per_session=2 * outstanding + 1, watches_per_session=watches)
        self.up = True
        self.unreachable: set[str] = set()  # hosts that cannot be dialled
        self.hold = False  # keep proposals from being committed
        self.mute = False  # keep answers from being sent
        self.cuts: deque[tuple[int, int]] = deque()  # bytes that successive connections may receive and send
        self.dialled: list[tuple[float, str]] = []
        self.peers: list[Peer] = []
        self._passwords = itertools.count(1)
        self._nursery: trio.Nursery | None = None
        self.engine = self._new_engine()

    def _new_engine(self) -> Engine:
        return Engine(
            self.machine,
            self.engine_limits,
            new_password=lambda: next(self._passwords).to_bytes(16, "big"),
            session_id_seed=0x100 + len(self.dialled),
        )

    async def run(self, task_status: trio.TaskStatus[MemoryServer] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started(self)
            ends = trio.current_time() + LONGEST_S
            try:
                while True:
                    await trio.sleep(TICK_S)
                    assert trio.current_time() < ends, "nothing ends this test"
                    self.engine.tick(self.now_ms, self.wall_ms)
                    self.turn()
            finally:
                self.up = False

    # -- clients ----------------------------------------------------------------------------------------------------

    def connect(self, hosts: str = "one:1", **arguments: Any) -> AbstractAsyncContextManager[Client]:
        arguments = {"session_timeout": 4.0, "rng": random.Random(1), "dial": self.dial} | arguments
        if self.zookeeper:
            hosts = f"zk://{hosts}"
        return connect(hosts, **arguments)

    async def dial(self, host: Host) -> Transport:
        self.dialled.append((trio.current_time(), host.name))
        await trio.lowlevel.checkpoint()
        if not self.up or host.name in self.unreachable:
            raise OSError(f"{host.name} is down")
        assert self._nursery is not None
        ours, theirs = trio.testing.memory_stream_pair()
        peer = Peer(self, ours, self.cuts.popleft() if self.cuts else (UNLIMITED, UNLIMITED))
        self.peers.append(peer)
        self._nursery.start_soon(self._serve, peer)
        return StreamTransport(theirs)

    # -- faults -----------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Lose every connection there is."""
        for peer in tuple(self.peers):
            peer.cut()

    def restart(self) -> None:
        """Lose every connection and all that was not committed; sessions and tree are durable."""
        self.cut()
        self.engine = self._new_engine()
        self.engine.open(self.now_ms)

    async def down_for(self, seconds: float) -> None:
        """Be unreachable for so long; time goes on for the sessions."""
        self.up = False
        self.cut()
        await trio.sleep(seconds)
        self.up = True

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Take writes, but commit none of them for the time of the block."""
        self.hold = True
        try:
            yield
        finally:
            self.hold = False
            self.turn()

    # -- the server's own work --------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return int(trio.current_time() * 1000)

    @property
    def wall_ms(self) -> int:
        return WALL_MS + self.now_ms

    def turn(self) -> None:
        """Commit, and go on with what waited."""
        busy = True
        while busy:
            if not self.hold:
                proposals = self.engine.take_proposals()
                self.engine.committed(self.machine.index + len(proposals))
            busy = False
            for peer in tuple(self.peers):
                connection = peer.connection
                if connection.holds_input and connection.wants_input:
                    connection.resume(self.now_ms, self.wall_ms)
                    busy = True

    async def _serve(self, peer: Peer) -> None:
        try:
            with peer.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, peer)
                    await self._read(peer)
                    peer.cut()
        finally:
            self.peers.remove(peer)
            peer.connection.lost(self.now_ms)
            peer.stream.send_stream.close()
            peer.stream.receive_stream.close()

    async def _read(self, peer: Peer) -> None:
        while peer.may_receive > 0:
            try:
                data = await peer.stream.receive_some(4096)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            data = bytes(data[: peer.may_receive])  # as a socket gives them
            peer.may_receive -= len(data)
            if not data:
                return
            try:
                peer.connection.receive(data, self.now_ms, self.wall_ms)
            except WireError as error:
                raise AssertionError("the client does not speak the protocol") from error
            self.turn()

    async def _write(self, peer: Peer) -> None:
        output = peer.output
        while True:
            await peer.woken.wait()
            peer.woken = trio.Event()
            output.looked()
            if self.mute:
                await trio.sleep(TICK_S)
                peer.wake()
                continue
            data = bytes(output.pending[: peer.may_send])
            del output.pending[: len(data)]
            peer.may_send -= len(data)
            try:
                await peer.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if peer.may_send <= 0 or (output.finished and not output.pending):
                peer.cut()
