"""A server without sockets and disk: what is proposed is committed at once. Connections get bytes and say bytes."""

from __future__ import annotations

import itertools

from coordserver.core.model.access import Credentials
from coordserver.core.model.acl import Identity
from coordserver.core.model.errors import WireError
from coordserver.core.model.limits import EngineLimits
from coordserver.core.serving.engine import Engine
from coordserver.core.state.machine import Machine
from coordserver.wire.jute.connection import JuteConnection
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.connection import NativeConnection
from coordserver.wire.output import Output

HOST = (Identity("ip", "127.0.0.1"),)
LIMITS = WireLimits(frame_bytes=1 << 16, jute_frame_bytes=1 << 16)
HARD = 1 << 24


class Bench:
    """One engine; passwords are numbers, time does not pass."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.machine = Machine.new(b"h" * 16)
        self.engine = Engine(
            self.machine, EngineLimits(), new_password=lambda: next(numbers).to_bytes(16, "big"), session_id_seed=0x100
        )

    def settle(self) -> None:
        """Commit everything that was proposed."""
        while proposals := self.engine.take_proposals():
            self.engine.committed(self.machine.index + len(proposals))

    def jute(self) -> Wire:
        """A connection of ZooKeeper's protocol."""
        output = Output(lambda: None, soft=HARD, hard=HARD)
        return Wire(self, output, JuteConnection(self.engine, output, LIMITS, HOST, credentials=Credentials()))

    def native(self) -> Wire:
        """A connection of the native protocol."""
        output = Output(lambda: None, soft=HARD, hard=HARD)
        return Wire(self, output, NativeConnection(self.engine, output, LIMITS, HOST))


class Wire:
    """The driver's side of one connection. `closed` says why it was closed, if it was."""

    def __init__(self, bench: Bench, output: Output, connection: JuteConnection | NativeConnection) -> None:
        self._bench = bench
        self.output = output
        self.connection = connection
        self.closed: WireError | None = None

    def say(self, data: bytes, piece: int = 0) -> bytes:
        """Bytes in, in pieces of so many (0: whole); the bytes that come out."""
        for at in range(0, len(data), piece or max(len(data), 1)):
            if self.closed is not None or self.output.finished:
                break
            try:
                self.connection.receive(data[at : at + (piece or len(data))], 0, 0)
                self._bench.settle()
                while self.connection.holds_input and self.connection.wants_input:
                    held = self.connection.holds_input
                    self.connection.resume(0, 0)
                    self._bench.settle()
                    if held and not self.connection.holds_input:
                        break
            except WireError as fault:
                self.closed = fault
                self.connection.lost(0)
        said = bytes(self.output.pending)
        self.output.pending.clear()
        return said
