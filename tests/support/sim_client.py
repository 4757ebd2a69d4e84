"""A naive client for the simulator: it keeps what it sent until it was answered, and sends it again when it must.

Everything that a server told it is written down, and what can be judged on the spot is: replies come in the order of
the requests, a write answered twice is answered the same, nothing goes back in time.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import attrs

from coordserver.core.model.operations import Op
from coordserver.wire.native import client as wire

WRITES = frozenset({int(Op.CREATE), int(Op.DELETE), int(Op.SET_DATA), int(Op.MULTI), int(Op.CLOSE_SESSION)})
PARENTS = ("/a", "/b", "/a/c")
WINDOW = 6


@attrs.frozen
class Request:
    """One request under way."""

    number: int
    op: int
    arguments: tuple[Any, ...]


@attrs.define
class Notes:
    """What one session was told: facts for the judge."""

    writes: dict[int, tuple[int, int, Any]] = attrs.field(factory=dict)  # number -> zxid, error, result
    reads: list[tuple[int, int, tuple[Any, ...], int, Any]] = attrs.field(factory=list)  # zxid, op, arguments, error...
    stream: list[tuple[Any, ...]] = attrs.field(factory=list)  # events and the replies between them, in order
    lapses: int = 0


class NaiveClient:
    """One user of the server. `network` is the other end's; see server_simulation."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self._random = random
        self.notes: dict[int, Notes] = {}
        self.session = 0
        self._password = b""
        self._number = 0
        self._pending: deque[Request] = deque()
        self._unsent: deque[Request] = deque()
        self._last_zxid = 0
        self._watching = False
        self._decoder = wire.NativeDecoder()
        self.connected = False
        self.welcomed = False
        self.outgoing = bytearray()

    @property
    def idle(self) -> bool:
        """Nothing is unanswered."""
        return not self._pending and not self._unsent

    # -- connections ------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin a connection."""
        self.connected, self.welcomed = True, False
        self._decoder = wire.NativeDecoder()
        self.outgoing[:] = wire.encode_hello(
            session_id=self.session,
            password=self._password,
            timeout_ms=self._random.choice((400, 1_000, 5_000)),
            last_zxid=self._last_zxid,
            name=self.name,
        )

    def disconnected(self) -> None:
        """The connection is gone: what was sent and not answered must be sent again, in its order."""
        self.connected = self.welcomed = False
        self.outgoing.clear()
        again = [request for request in (*self._pending, *self._unsent) if request.op != Op.ADD_WATCH]
        self._pending.clear()
        self._unsent = deque(again)

    def _expired(self) -> None:
        self.session, self._password, self._number = 0, b"", 0
        self._pending.clear()
        self._unsent.clear()
        self._watching = False
        self._last_zxid = 0
        self.connected = False

    # -- requests ---------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Want one thing at random."""
        if len(self._pending) + len(self._unsent) >= WINDOW or not self.session:
            return
        self._want(*self._random_request())

    def _want(self, op: int, arguments: tuple[Any, ...]) -> None:
        self._number += self._random.choice((1, 1, 3))
        self._unsent.append(Request(self._number, int(op), arguments))
        self._send()

    def _random_request(self) -> tuple[int, tuple[Any, ...]]:
        random = self._random
        parent = random.choice(PARENTS)
        path = random.choice((parent, f"{parent}/{random.randrange(3)}"))
        roll = random.random()
        if roll < 0.08:
            return Op.CREATE, (parent, b"", None, 0, 0)
        if roll < 0.30:
            mode = random.choice((0, 0, 1, 2, 3))
            return Op.CREATE, (path if mode < 2 else f"{parent}/s-", self.name.encode(), None, mode, 0)
        if roll < 0.45:
            return Op.SET_DATA, (path, random.randbytes(3), random.choice((-1, -1, 0, 1)))
        if roll < 0.52:
            return Op.DELETE, (path, -1)
        if roll < 0.67:
            parts = (
                (int(Op.CREATE), f"{parent}/m-", b"", None, 2, 0),
                (int(Op.SET_DATA), path, b"multi", -1),
                (int(Op.CHECK), parent, random.choice((-1, -1, 3))),
            )
            return Op.MULTI, (parts,)
        if roll < 0.69:
            return Op.CLOSE_SESSION, ()
        if roll < 0.75:
            return Op.PING, ()
        return random.choice((Op.GET_DATA, Op.EXISTS, Op.GET_CHILDREN2)), (path, False)

    def _send(self) -> None:
        while self.welcomed and self._unsent:
            request = self._unsent.popleft()
            self._pending.append(request)
            acked = next((r.number for r in (*self._pending, *self._unsent) if r.op in WRITES), request.number)
            self.outgoing += wire.encode_request(
                request.number, request.op, min(acked, request.number), request.arguments
            )

    # -- what the server says ---------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes of the server."""
        for message in self._decoder.feed(data):
            if isinstance(message, wire.ServerHello):
                self._on_hello(message)
            elif isinstance(message, wire.Events):
                assert message.zxid > self._last_zxid, "an event of the past"
                self._last_zxid = message.zxid
                self.notes[self.session].stream.append(("events", message.zxid, message.events))
            elif isinstance(message, wire.Reply):
                self._on_reply(message)
            elif message.reason == -112:
                self._expired()

    def _on_hello(self, hello: wire.ServerHello) -> None:
        if hello.error == -112 and self.session:
            self._expired()
            return
        assert hello.error == 0, f"{self.name} was refused with {hello.error}: the server is behind what it told"
        if self.session:
            assert hello.session_id == self.session
        else:
            assert hello.session_id not in self.notes, "a session id for the second time"
        self.session, self._password = hello.session_id, hello.password
        notes = self.notes.setdefault(self.session, Notes())
        self.welcomed = True
        answered = max(notes.writes, default=0)
        assert hello.last_number >= answered, "the server forgot a number that it had answered"
        self._number = max(self._number, hello.last_number)
        since = self._last_zxid if self._watching else -1
        self._number += 1
        self._unsent.appendleft(Request(self._number, int(Op.ADD_WATCH), ("/", 1, since)))
        self._send()

    def _on_reply(self, reply: wire.Reply) -> None:
        request = self._pending.popleft()
        assert reply.number == request.number, "a reply out of order"
        assert reply.error not in (-1, -1001, -1002, -1003), f"{request} got {reply.error}: {reply.detail}"
        notes = self.notes[self.session]
        if request.op in WRITES:
            answer = (reply.zxid, reply.error, reply.fields)
            before = notes.writes.setdefault(request.number, answer)
            assert before == answer, "one write answered in two ways"
            notes.stream.append(("write", reply.zxid))
        else:
            assert reply.zxid >= self._last_zxid, "a read of the past"
            if request.op == Op.ADD_WATCH:
                since = request.arguments[2]
                resumed = bool(reply.fields[0])
                assert resumed == (since >= 0), "a watch that could have resumed did not"
                if not resumed:
                    notes.stream.append(("armed", reply.zxid))
                self._watching = True
            elif request.op != Op.PING:
                notes.reads.append((reply.zxid, request.op, request.arguments, reply.error, reply.fields))
            notes.stream.append(("read", reply.zxid))
        self._last_zxid = max(self._last_zxid, reply.zxid)
        if request.op == Op.CLOSE_SESSION:
            self._expired()
