"""A poller over socket pairs whose turns are measured in work: each request that is handled takes `FRAME_S`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from coordserver.config.address import Address
from coordserver.core.model.access import Credentials
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import Op
from coordserver.core.serving.engine import Engine
from coordserver.core.state.machine import Machine
from coordserver.server.clock import SystemClock
from coordserver.server.pending_bytes import PendingBytes
from coordserver.server.poller import Poller
from coordserver.wire.admin.access import Admin
from coordserver.wire.detect import WireProtocol
from coordserver.wire.jute import client as jute
from coordserver.wire.jute.connection import JuteConnection
from coordserver.wire.limits import WireLimits
from coordserver.wire.native import client as native
from coordserver.wire.native.connection import NativeConnection
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection
from coordserver.wire.tls import TlsConnection

FRAME_S = 0.0003
HANDSHAKE_S = 0.001
TOTAL = 1 << 30
MOST_SWEEPS = 20_000
SOCKET_BYTES = 200_000
"""The kernel doubles it, so a socket takes more than is sent at a time, and less than a long answer."""


class CountedEngine(Engine):
    """Counts requests by their session."""

    def __init__(self, world: TurnWorld) -> None:
        super().__init__(Machine.new(b"h" * 16), EngineLimits(), new_password=lambda: b"p" * 16, session_id_seed=0x100)
        self._world = world

    def request(self, attachment: Any, number: int, op: int, *rest: Any) -> None:
        self._world.work(FRAME_S, attachment.session_id)
        super().request(attachment, number, op, *rest)


class CountedTls(TlsConnection):
    """Counts steps of handshakes."""

    world: TurnWorld

    def _handshake(self) -> PortConnection | None:
        self.world.work(HANDSHAKE_S, "handshake")
        return super()._handshake()


class TurnWorld:
    """What is proposed is committed at once. `done` lists who was worked for, in order."""

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None = None,
        soft: int = 1 << 20,
        output_total: int = TOTAL,
        input_total: int = TOTAL,
        admin: Admin | None = None,
    ) -> None:
        self.seconds = 0.0
        self.done: list[int | str] = []
        self.turns: list[int] = []
        self.engine = CountedEngine(self)
        self.engine.open(0)
        self._context = context
        self._admin = admin
        self._clients: list[Client] = []
        self.poller = Poller(
            self._connect,
            self._handled,
            lambda: False,
            SystemClock(),
            PendingBytes(self.engine, TOTAL),
            output_soft=soft,
            output_hard=1 << 24,
            output_total=output_total,
            input_total=input_total,
            meter=lambda: self.seconds,
        )

    def work(self, seconds: float, who: int | str) -> None:
        """Somebody was worked for."""
        self.seconds += seconds
        self.done.append(who)

    def sweep(self) -> bool:
        """One sweep; whether there was nothing more to do."""
        return self.poller.sweep()

    def settle(self) -> None:
        """Sweep until there is nothing more to do."""
        for _ in range(MOST_SWEEPS):
            if self.sweep():
                return
        raise AssertionError("the work does not end")

    def client(self, speech: str = "native", *, settled: bool = True) -> Client:
        """A connection; `settled` has a session, and has asked twice."""
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.poller.add(ours, Address("peer", len(self._clients) + 1))
        client = Client(theirs, speech)
        self._clients.append(client)
        if settled:
            client.send(client.hello())
            self.settle()
            for _ in range(2):
                client.send(client.ping())
                self.settle()
            client.receive()
        return client

    def close(self) -> None:
        self.poller.close()
        for client in self._clients:
            client.socket.close()

    def _handled(self) -> None:
        proposals = self.engine.take_proposals()
        self.engine.committed(self.engine.machine.index + len(proposals))
        self.turns.append(len(self.done))

    def _connect(self, output: Output, host: str, speaks: frozenset[WireProtocol]) -> PortConnection:
        context = self._context
        if context is None:
            return self._port(output)

        def wrapped(out: Output) -> TlsConnection:
            found = CountedTls(out, context, lambda inner, who: self._port(inner))
            found.world = self
            return found

        return self._port(output, wrapped)

    def _port(self, output: Output, wrapped: Callable[[Output], TlsConnection] | None = None) -> PortConnection:
        limits = WireLimits()
        makers = {
            WireProtocol.NATIVE: lambda out: NativeConnection(self.engine, out, limits),
            WireProtocol.JUTE: lambda out: JuteConnection(self.engine, out, limits, credentials=Credentials()),
        }
        return PortConnection(output, makers, self._admin, wrapped)  # type: ignore[arg-type]


class Client:
    """The other end of a socket pair."""

    def __init__(self, sock: socket.socket, speech: str) -> None:
        self.socket = sock
        self._jute = speech == "jute"
        self._number = 0

    def hello(self) -> bytes:
        return jute.connect_request(timeout_ms=30_000) if self._jute else native.encode_hello(timeout_ms=30_000)

    def request(self, op: Op, arguments: Sequence[Any]) -> bytes:
        self._number += 1
        if self._jute:
            return jute.request(self._number, op, arguments)
        return native.encode_request(self._number, op, self._number, arguments)

    def ping(self) -> bytes:
        """A request of few bytes."""
        return self.request(Op.EXISTS, ("/", False))

    def send(self, data: bytes) -> None:
        """Send what the socket takes at once: all of it."""
        assert self.socket.send(data) == len(data)

    def receive(self) -> int:
        """Read what is there; how many bytes that was."""
        got = 0
        try:
            while part := self.socket.recv(1 << 20):
                got += len(part)
        except BlockingIOError:
            pass
        return got

    @property
    def closed(self) -> bool:
        """The server has closed it; what it sent is read."""
        try:
            while self.socket.recv(1 << 20):
                pass
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        return True


@contextmanager
def turn_world(**settings: Any) -> Iterator[TurnWorld]:
    """A world that is closed at the end."""
    world = TurnWorld(**settings)
    try:
        yield world
    finally:
        world.close()
