"""The one port: a connection that finds out what it speaks and then is that.

It has the shape that drivers know: `receive`, `resume`, `lost`, `wants_input`, `holds_input` and an `output`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from coordserver.core.errors import WireError
from coordserver.wire import fourletter, http
from coordserver.wire.facts import ServerFacts
from coordserver.wire.output import Output
from coordserver.wire.sniff import SNIFF_BYTES, Speech, sniff


class SessionConnection(Protocol):
    """A connection that carries a session, whatever its protocol (wire/native.py says what each member is for)."""

    @property
    def attached(self) -> bool: ...

    @property
    def wants_input(self) -> bool: ...

    @property
    def holds_input(self) -> bool: ...

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> None: ...

    def resume(self, now_ms: int, wall_ms: int) -> None: ...

    def lost(self, now_ms: int) -> None: ...


class WrappingConnection(SessionConnection, Protocol):
    """One that has an encoding of its own around another connection: it has its turn before each send."""

    def prepare(self) -> None: ...


class PortConnection:
    """One accepted connection. `makers` give what carries a session in each protocol that does, `make_tls` what wraps
    one; None where TLS is not spoken, as inside TLS.
    """

    __slots__ = ("_facts", "_head", "_make_tls", "_makers", "_speech", "output", "session", "wrapping")

    def __init__(
        self,
        output: Output,
        makers: Mapping[Speech, Callable[[Output], SessionConnection]],
        facts: Callable[[], ServerFacts],
        make_tls: Callable[[Output], WrappingConnection] | None = None,
    ) -> None:
        self.output = output
        self.session: SessionConnection | None = None
        self.wrapping: WrappingConnection | None = None
        self._make_tls = make_tls
        self._makers = makers
        self._facts = facts
        self._head = bytearray()
        self._speech: Speech | None = None

    @property
    def speech(self) -> Speech | None:
        """What the peer speaks; None until that is known."""
        return self._speech

    @property
    def settled(self) -> bool:
        """The peer has said who it is and was accepted; until then it is on a deadline."""
        return self.session is not None and self.session.attached

    @property
    def wants_input(self) -> bool:
        """Reading makes sense now."""
        return self.session.wants_input if self.session is not None else not self.output.finished

    @property
    def holds_input(self) -> bool:
        """Bytes were read that `resume` may be able to handle."""
        return self.session is not None and self.session.holds_input

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> None:
        """Handle what was read. Raises WireError if this connection is to be closed."""
        if self.session is not None:
            self.session.receive(data, now_ms, wall_ms)
            return
        self._head += data
        if self._speech is None:
            self._speech = sniff(self._head)
        match self._speech:
            case Speech.NATIVE | Speech.JUTE:
                self._become(self._makers[self._speech](self.output), now_ms, wall_ms)
            case Speech.TLS:
                if self._make_tls is None:
                    raise WireError("TLS is not spoken here")
                self.wrapping = self._make_tls(self.output)
                self._become(self.wrapping, now_ms, wall_ms)
            case Speech.FOUR_LETTER:
                self._say(fourletter.answer(bytes(self._head[:SNIFF_BYTES]), self._facts()))
            case Speech.HTTP:
                self._say_http()
            case Speech.UNKNOWN:
                raise WireError("an unknown protocol")
            case None:
                pass

    def _become(self, session: SessionConnection, now_ms: int, wall_ms: int) -> None:
        head, self._head = bytes(self._head), bytearray()
        self.session = session
        session.receive(head, now_ms, wall_ms)

    def resume(self, now_ms: int, wall_ms: int) -> None:
        """Handle held input as far as the limits allow."""
        if self.session is not None:
            self.session.resume(now_ms, wall_ms)

    def prepare(self) -> None:
        """Bytes are about to be sent: let what wraps them have its turn."""
        if self.wrapping is not None:
            self.wrapping.prepare()

    def lost(self, now_ms: int) -> None:
        """The peer is gone, or is being cut off."""
        if self.session is not None:
            self.session.lost(now_ms)

    def _say(self, text: bytes | None) -> None:
        if text is None:
            raise WireError("an unknown four-letter word")
        self.output.write(text)
        self.output.finish()

    def _say_http(self) -> None:
        response = http.answer(self._head, self._facts())
        if response is not None:
            self._say(response)
