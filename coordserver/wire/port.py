"""The one port: a connection that finds out what it speaks and then is that.

It has the shape that drivers know: `receive`, `resume`, `lost`, `wants_input`, `holds_input` and an `output`. A word or
an HTTP request is answered by the connection itself, in slices: some pieces a turn, as far as the work budget of its
output allows, and none while the peer does not take what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

from coordserver.core.model.acl import Identity
from coordserver.core.model.errors import WireError
from coordserver.wire.admin import fourletter
from coordserver.wire.admin.access import Admin
from coordserver.wire.admin.http import Piece
from coordserver.wire.detect import SNIFF_BYTES, WireProtocol, detect
from coordserver.wire.output import Output
from coordserver.wire.traffic import Traffic

TURN_PIECES = 256
"""Pieces of an answer, a line each or so, after which others have their turn."""

TURN_BYTES = 256 * 1024
"""The same of longer pieces."""

EVERYTHING = frozenset(
    {WireProtocol.NATIVE, WireProtocol.JUTE, WireProtocol.TLS, WireProtocol.FOUR_LETTER, WireProtocol.HTTP}
)
TLS_ONLY = frozenset({WireProtocol.TLS})
HTTP_ONLY = frozenset({WireProtocol.HTTP})


class ServedConnection(Protocol):
    """A connection that carries a session, whatever its protocol (wire/native.py says what each member is for)."""

    @property
    def attached(self) -> bool: ...

    @property
    def wants_input(self) -> bool: ...

    @property
    def holds_input(self) -> bool: ...

    @property
    def input_bytes(self) -> int: ...

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool: ...

    def resume(self, now_ms: int, wall_ms: int) -> None: ...

    def lost(self, now_ms: int) -> None: ...


class WrappingConnection(ServedConnection, Protocol):
    """One that has an encoding of its own around another connection: it has its turn before each send."""

    @property
    def shaking_hands(self) -> bool:
        """It is not agreed on with the peer yet."""

    @property
    def unsent(self) -> int:
        """Bytes that wait inside to be encoded."""

    def prepare(self) -> None: ...


class PortConnection:
    """One accepted connection. `makers` give what carries a session in each protocol that does, `make_tls` what wraps
    one; None where TLS is not spoken, as inside TLS. `speaks`: what is accepted here. `identities`: what the connection
    is by itself. `traffic` is shared with whatever speaks on it.
    """

    __slots__ = (
        "_admin",
        "_answer",
        "_head",
        "_identities",
        "_make_tls",
        "_makers",
        "_speaks",
        "_speech",
        "_waiting",
        "output",
        "session",
        "traffic",
        "wrapping",
    )

    def __init__(
        self,
        output: Output,
        makers: Mapping[WireProtocol, Callable[[Output], ServedConnection]],
        admin: Admin,
        make_tls: Callable[[Output], WrappingConnection] | None = None,
        *,
        identities: tuple[Identity, ...] = (),
        traffic: Traffic | None = None,
        speaks: frozenset[WireProtocol] = EVERYTHING,
    ) -> None:
        self.output = output
        self.session: ServedConnection | None = None
        self.wrapping: WrappingConnection | None = None
        self.traffic = traffic or Traffic()
        self._make_tls = make_tls
        self._makers = makers
        self._admin = admin
        self._identities = identities
        self._speaks = speaks
        self._head = bytearray()
        self._speech: WireProtocol | None = None
        self._answer: Generator[Piece, None, None] | None = None
        self._waiting = False

    @property
    def speech(self) -> WireProtocol | None:
        """What the peer speaks; None until that is known."""
        return self._speech

    @property
    def settled(self) -> bool:
        """The peer has said who it is and was accepted, or is being answered; until then it is on a deadline."""
        if self.session is not None:
            return self.session.attached
        return self._answer is not None or self.output.finished

    @property
    def wants_input(self) -> bool:
        """Reading makes sense now."""
        if self.session is not None:
            return self.session.wants_input
        return not (self.output.finished or (self._answer is not None and self.output.crowded))

    @property
    def holds_input(self) -> bool:
        """There is something that `resume` may be able to go on with."""
        if self._answer is not None:
            return not self._waiting
        return self.session is not None and self.session.holds_input

    @property
    def input_bytes(self) -> int:
        """Bytes that were read and not handled."""
        return len(self._head) + (self.session.input_bytes if self.session is not None else 0)

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent, those that are not encrypted yet among them."""
        return len(self.output.pending) + (self.wrapping.unsent if self.wrapping is not None else 0)

    @property
    def hears(self) -> bool:
        """The socket is to be read. While it is being answered, a peer may have closed its half of the connection."""
        if self.session is not None:
            return self.session.wants_input and not self.session.holds_input
        return self._answer is None and not self.output.finished

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool:
        """Handle what was read; True where it is sure that more is wanted and nothing is held.

        Raises WireError if this connection is to be closed.
        """
        if self.session is not None:
            return self.session.receive(data, now_ms, wall_ms)
        if self._answer is None and not self.output.finished:
            self._hear(data, now_ms, wall_ms)
        return False

    def _hear(self, data: bytes, now_ms: int, wall_ms: int) -> None:
        """More of the first bytes, which tell what is spoken."""
        self._head += data
        if self._speech is None:
            self._speech = detect(self._head)
            if self._speech is None:
                return
            if self._speech not in self._speaks:
                raise WireError(f"{self._speech.value} is not spoken here")
        match self._speech:
            case WireProtocol.NATIVE | WireProtocol.JUTE:
                self._become(self._makers[self._speech](self.output), now_ms, wall_ms)
            case WireProtocol.TLS:
                if self._make_tls is None:
                    raise WireError("TLS is not spoken here")
                self.wrapping = self._make_tls(self.output)
                self._become(self.wrapping, now_ms, wall_ms)
            case WireProtocol.FOUR_LETTER:
                self._say_word()
            case WireProtocol.HTTP:
                self._say(self._admin.http(self._head, self._identities, self._woken))

    def _become(self, session: ServedConnection, now_ms: int, wall_ms: int) -> None:
        head, self._head = bytes(self._head), bytearray()
        self.session = session
        session.receive(head, now_ms, wall_ms)

    def resume(self, now_ms: int, wall_ms: int) -> None:
        """Handle held input, or go on with an answer, as far as the limits allow."""
        if self.session is not None:
            self.session.resume(now_ms, wall_ms)
        elif self._answer is not None:
            self._go_on(self._answer)

    def prepare(self) -> None:
        """Bytes are about to be sent: let what wraps them have its turn."""
        if self.wrapping is not None:
            self.wrapping.prepare()

    def lost(self, now_ms: int) -> None:
        """The peer is gone, or is being cut off."""
        if self.session is not None:
            self.session.lost(now_ms)
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _say_word(self) -> None:
        word, argument = bytes(self._head[:SNIFF_BYTES]), bytes(self._head[SNIFF_BYTES:])
        if self._admin.takes_argument(word) and len(argument) < fourletter.ARGUMENT_BYTES:
            return
        answer = self._admin.word(word, argument[: fourletter.ARGUMENT_BYTES])
        if answer is None:
            raise WireError("an unknown four-letter word")
        self._say(answer)

    def _woken(self) -> None:
        """The answer goes on: there is more of it."""
        self._waiting = False
        self.output.wake()

    def _say(self, answer: Iterator[Piece] | None) -> None:
        if answer is not None:
            self._head.clear()
            self.traffic.received += 1
            self._answer = _one_by_one(answer)
            self._go_on(self._answer)

    def _go_on(self, answer: Generator[Piece, None, None]) -> None:
        taken = bytearray()
        spent = self.output.budget.spent
        for _ in range(TURN_PIECES):
            try:
                piece = next(answer)
            except StopIteration:
                self._answer = None
                break
            if piece is None:
                self._waiting = True
                break
            taken += piece.encode() if isinstance(piece, str) else piece
            if len(taken) >= TURN_BYTES or spent():
                break
        self.output.write(bytes(taken))
        if self._answer is None:
            self.output.finish()


def _one_by_one(pieces: Iterator[Piece]) -> Generator[Piece, None, None]:
    """As a generator, which can be closed."""
    yield from pieces
