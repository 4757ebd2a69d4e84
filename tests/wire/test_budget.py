"""A connection stops between two frames when the work budget is spent, whatever it speaks."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
from authority import Authority

from coordserver.core.model.access import Credentials
from coordserver.core.model.budget import WorkBudget
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import Op
from coordserver.core.serving.engine import Engine
from coordserver.core.state.machine import Machine
from coordserver.wire.detect import WireProtocol
from coordserver.wire.jute import client as jute
from coordserver.wire.jute.connection import JuteConnection
from coordserver.wire.limits import WireLimits
from coordserver.wire.native import client as native
from coordserver.wire.native.connection import NativeConnection
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection
from coordserver.wire.tls import TlsConnection

FRAMES = 100
LARGE = 1 << 30


class CountedEngine(Engine):
    """Counts requests."""

    handled = 0

    def request(self, *arguments: Any) -> None:
        self.handled += 1
        super().request(*arguments)


class World:
    """One connection of either protocol, in TLS or not, and its client. `most` frames a turn."""

    def __init__(self, speech: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None, most: int) -> None:
        self.engine = CountedEngine(
            Machine.new(b"h" * 16), EngineLimits(), new_password=lambda: b"p" * 16, session_id_seed=0x100
        )
        self.engine.open(0)
        self.speech = speech
        self.budget = WorkBudget(lambda: self.engine.handled)
        self.most = most
        self.output = Output(lambda: None, soft=LARGE, hard=LARGE, budget=self.budget)
        wrapped: Callable[[Output], TlsConnection] | None = None
        if contexts is not None:
            server, client = contexts
            wrapped = lambda out: TlsConnection(out, server, lambda inner, who: self._port(inner))  # noqa: E731
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = client.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self.connection = self._port(self.output, wrapped)
        if wrapped is not None:
            self._shake_hands()
        self.send(
            jute.connect_request(timeout_ms=30_000) if speech == "jute" else native.encode_hello(timeout_ms=30_000)
        )
        self.engine.committed(len(self.engine.take_proposals()))

    def requests(self, count: int) -> bytes:
        if self.speech == "jute":
            return b"".join(jute.request(n + 1, Op.EXISTS, ("/", False)) for n in range(count))
        return b"".join(native.encode_request(n + 1, Op.EXISTS, 1, ("/", False)) for n in range(count))

    def send(self, data: bytes) -> None:
        """The driver reads this, at the beginning of a turn."""
        if self.connection.wrapping is not None:
            self._tls.write(data)
            data = self._out.read()
        self.begin()
        self.connection.receive(data, 0, 0)

    def begin(self) -> None:
        """A turn begins."""
        self.budget.limit = self.engine.handled + self.most - 1

    def _port(self, output: Output, wrapped: Callable[[Output], TlsConnection] | None = None) -> PortConnection:
        makers = {
            WireProtocol.NATIVE: lambda out: NativeConnection(self.engine, out, WireLimits()),
            WireProtocol.JUTE: lambda out: JuteConnection(self.engine, out, WireLimits(), credentials=Credentials()),
        }
        return PortConnection(output, makers, None, wrapped)  # type: ignore[arg-type]

    def _shake_hands(self) -> None:
        for _ in range(3):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.connection.receive(self._out.read(), 0, 0)
                assert self.connection.holds_input, "a step of the handshake is the driver's to begin"
                assert not self.output.pending
                self.connection.resume(0, 0)
                self._in.write(bytes(self.output.pending))
                self.output.pending.clear()
        self.connection.receive(self._out.read(), 0, 0)
        self.connection.resume(0, 0)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.server().pem)
    return server, authority.context()


@pytest.mark.parametrize("most", [1, 7])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("speech", ["native", "jute"])
def test_frames_behind_a_spent_budget_wait_for_their_turn(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], speech: str, secure: bool, most: int
) -> None:
    world = World(speech, contexts if secure else None, most)
    assert world.connection.settled
    world.send(world.requests(FRAMES))
    assert world.engine.handled == most
    turns = 1
    while world.connection.holds_input:
        assert not world.connection.hears, "what is held would be added to"
        assert world.connection.input_bytes
        before = world.engine.handled
        world.begin()
        world.connection.resume(0, 0)
        assert world.engine.handled - before <= most
        turns += 1
    assert world.engine.handled == FRAMES
    assert turns >= FRAMES // most
    assert world.connection.hears
    assert not world.connection.input_bytes


@pytest.mark.parametrize("speech", ["native", "jute"])
def test_many_small_records_are_bounded_like_frames(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], speech: str
) -> None:
    """What is not decrypted yet is held too."""
    world = World(speech, contexts, 5)
    requests = world.requests(FRAMES)
    size = len(requests) // FRAMES
    for at in range(0, len(requests), size):
        world._tls.write(requests[at : at + size])
    world.begin()
    world.connection.receive(world._out.read(), 0, 0)
    assert world.engine.handled <= 5 + 1
    while world.connection.holds_input:
        before = world.engine.handled
        world.begin()
        world.connection.resume(0, 0)
        assert world.engine.handled - before <= 5 + 1
    assert world.engine.handled == FRAMES


def test_long_answers_are_counted_where_they_are_written() -> None:
    counted: list[int] = []

    class Counting(WorkBudget):
        def count_answer(self, length: int) -> None:
            counted.append(length)

    output = Output(lambda: None, soft=LARGE, hard=LARGE, budget=Counting())
    for size in (1, 4_096, 4_097, 1_000_000):
        output.write(bytes(size))
    assert counted == [4_097, 1_000_000]
