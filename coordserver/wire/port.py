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


class PortConnection:
    """One accepted connection. `makers` give what carries a session in each protocol that does."""

    __slots__ = ("_facts", "_head", "_makers", "_speech", "output", "session")

    def __init__(
        self,
        output: Output,
        makers: Mapping[Speech, Callable[[Output], SessionConnection]],
        facts: Callable[[], ServerFacts],
    ) -> None:
        self.output = output
        self.session: SessionConnection | None = None
        self._makers = makers
        self._facts = facts
        self._head = bytearray()
        self._speech: Speech | None = None

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
                self.session = self._makers[self._speech](self.output)
                self.session.receive(bytes(self._head), now_ms, wall_ms)
                self._head.clear()
            case Speech.FOUR_LETTER:
                self._say(fourletter.answer(bytes(self._head[:SNIFF_BYTES]), self._facts()))
            case Speech.HTTP:
                self._say_http()
            case Speech.UNKNOWN:
                raise WireError("an unknown protocol")
            case None:
                pass

    def resume(self, now_ms: int, wall_ms: int) -> None:
        """Handle held input as far as the limits allow."""
        if self.session is not None:
            self.session.resume(now_ms, wall_ms)

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
