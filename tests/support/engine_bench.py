"""An engine to hand, whose log is a counter, with everything fixed that chance or a clock would decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from coordserver.core.model.acl import Identity
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.serving.connection import Hello, Welcome
from coordserver.core.serving.engine import Engine
from coordserver.core.serving.pipeline import Attachment
from coordserver.core.state.machine import Machine

HISTORY = bytes(range(16))
PASSWORD = b"secret-of-16-byt"
WALL = 1_700_000_000_000
FIRST_SESSION = 0x100


@attrs.define
class Told:
    """A Sink: everything one connection was told, in order, as plain tuples."""

    entries: list[tuple[Any, ...]] = attrs.field(factory=list)

    def reply(self, number: int, zxid: int, op: int, error: int, result: tuple[Any, ...], detail: str) -> None:
        self.entries.append(("reply", number, zxid, int(error), result))

    def events(self, zxid: int, events: Sequence[tuple[int, str]]) -> None:
        self.entries.append(("events", zxid, tuple((int(kind), path) for kind, path in events)))

    def welcome(self, w: Welcome) -> None:
        self.entries.append(("welcome", w))

    def close(self, reason: int) -> None:
        self.entries.append(("close", int(reason)))

    def take(self) -> list[tuple[Any, ...]]:
        """What was told since the last call."""
        entries, self.entries = self.entries, []
        return entries


class Bench:
    """An engine, its clocks, and its log: what `take` gave is in the log, what `sync` did is durable."""

    def __init__(self, machine: Machine | None = None, **limits: int) -> None:
        self.machine = machine or Machine.new(HISTORY)
        self.engine = Engine(
            self.machine,
            EngineLimits(**{"session_timeout_ms_min": 100, **limits}),
            new_password=lambda: PASSWORD,
            session_id_seed=FIRST_SESSION,
        )
        self.logged = self.machine.index
        self.now = 1_000
        self.wall = WALL
        self.engine.open(self.now)

    def take(self) -> list[Record]:
        """Put into the log what was proposed since, without making it durable."""
        fresh = self.engine.take_proposals()
        self.logged += len(fresh)
        return fresh

    def sync(self) -> list[Record]:
        """Put it into the log, and make all that is in it durable."""
        fresh = self.take()
        self.engine.committed(self.logged)
        return fresh

    def hello(
        self,
        session: int = 0,
        *,
        password: bytes = PASSWORD,
        timeout_ms: int = 10_000,
        last_zxid: int = 0,
        history_id: bytes | None = None,
        identities: tuple[Identity, ...] = (),
        remembers: bool = True,
    ) -> tuple[Attachment, Told]:
        """Open or resume a session, not synced."""
        told = Told()
        hello = Hello(session, password, timeout_ms, last_zxid, history_id, "", remembers)
        return self.engine.connect(told, hello, identities, self.now, self.wall), told

    def connected(self, session: int = 0, **more: Any) -> tuple[Attachment, Told, Welcome]:
        """The same, synced, and what it was welcomed with."""
        attachment, told = self.hello(session, **more)
        self.sync()
        [(_, welcome)] = [entry for entry in told.take() if entry[0] == "welcome"]
        return attachment, told, welcome

    def send(self, attachment: Attachment, number: int, op: Op, *arguments: Any, acked: int = 1) -> None:
        """Send one request, not synced."""
        self.engine.request(attachment, number, int(op), acked, arguments, self.now, self.wall)

    def create(self, attachment: Attachment, number: int, path: str, *, mode: int = 0, acked: int = 1) -> None:
        """Send a create, not synced."""
        self.send(attachment, number, Op.CREATE, path, b"", None, mode, 0, acked=acked)

    def pass_ms(self, milliseconds: int, late_ms: int = 0) -> None:
        """Let time pass, then tick."""
        self.now += milliseconds
        self.wall += milliseconds
        self.engine.tick(self.now, self.wall, late_ms)


def replies(entries: Sequence[tuple[Any, ...]]) -> list[tuple[int, int]]:
    """(number, error) of the replies among what a connection was told."""
    return [(entry[1], entry[3]) for entry in entries if entry[0] == "reply"]
