"""What carries a session is the same for both protocols, but for what a frame says: this is the common half.

The driver calls `receive` with what it read, sends what lies in `output`, calls `resume` when it has sent some, and
`lost` when the peer is gone. The state machine calls the Sink methods, in the order in which the peer must see them.

Backpressure: held frames are not handled, and the driver is told not to read (`wants_input`), while the handshake is
being committed, while as many requests as allowed are unanswered, while the peer does not read its answers, and while
reads with long answers wait behind writes.

Between two frames the connection asks the work budget of its output. Once that is spent, the other frames wait for
`resume`; until then the driver reads no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coordserver.core.model.access import Credentials
from coordserver.core.model.acl import Identity
from coordserver.core.model.errors import KeeperError
from coordserver.core.serving.engine import Engine
from coordserver.core.serving.pipeline import Attachment
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.framing import FrameBuffer, Oversized
from coordserver.wire.output import LONG_BYTES, Output
from coordserver.wire.traffic import Traffic

EncodeEvents = Callable[[int, Sequence[tuple[int, str]]], bytes]


class SessionConnection:
    """One connection's state. A subclass knows its handshake and frames, and ends `_greeting` when it has read the
    first.

    `encode_events` may be shared by all connections, which hear the same events in the same objects.
    """

    def __init__(
        self,
        engine: Engine,
        output: Output,
        limits: WireLimits,
        identities: tuple[Identity, ...],
        traffic: Traffic | None,
        *,
        frame_bytes: int,
        credentials: Credentials | None,
        encode_events: EncodeEvents,
    ) -> None:
        self.output = output
        self.outstanding = 0
        self.name = ""
        self._engine = engine
        self._limits = limits
        self._identities = identities
        self._traffic = traffic or Traffic()
        self._credentials = credentials or Credentials()
        self._unproven = not self._credentials.suffice(identities)
        self._encode_events = encode_events
        self._most_outstanding = limits.outstanding
        self._most_bytes = limits.outstanding_bytes
        self._unanswered_bytes = 0
        self._frames = FrameBuffer(frame_bytes)
        self._budget = output.budget
        self._attachment: Attachment | None = None
        self._greeting = True
        self._welcomed = False
        self._refusing = False
        self._ended = False
        self._held = False

    @property
    def attached(self) -> bool:
        """The handshake is over and was accepted."""
        return self._welcomed

    @property
    def wants_input(self) -> bool:
        """Reading makes sense now."""
        if not self._welcomed or self._ended or self._refusing:
            return self._greeting and not self._ended
        output = self.output
        return (
            self.outstanding < self._most_outstanding
            and (self._unanswered_bytes <= self._most_bytes or not self.outstanding)
            and len(output.pending) <= output.soft
            and not self._awaits_much
        )

    @property
    def _awaits_much(self) -> bool:
        """The reads that wait behind writes will be answered with more than the output takes."""
        attachment = self._attachment
        live = attachment.live if attachment is not None else None
        return live is not None and live.awaited > self.output.soft

    @property
    def holds_input(self) -> bool:
        """Frames were held back that `resume` can handle once input is wanted."""
        return self._held and not self._ended

    @property
    def input_bytes(self) -> int:
        """Bytes that were read and not handled: frames held back, and one that is unfinished."""
        return len(self._frames)

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool:
        """Handle what was read; True where it is sure that more is wanted and nothing is held.

        Raises WireError if the peer does not speak the protocol: close its connection.
        """
        if self._ended:
            return False
        self._unanswered_bytes += len(data)
        body = self._frames.only(data)
        if body is None or self._greeting or not self.wants_input:
            self._frames.feed(data)
            self.resume(now_ms, wall_ms)
            return False
        if not self.outstanding:
            self._unanswered_bytes = len(data)
        self._held = False
        if len(data) > LONG_BYTES:
            self._note_long(len(data))
        self._handle(body, now_ms, wall_ms)
        outstanding = self.outstanding
        if outstanding:
            self._traffic.waits(now_ms)
        most = self._most_outstanding
        if outstanding >= most or self._unanswered_bytes > self._most_bytes or self._refusing:
            return False
        return not (outstanding and self._awaits_much)

    def resume(self, now_ms: int, wall_ms: int) -> None:
        """Handle held frames as far as the limits and the work budget allow."""
        if not self.outstanding:
            self._unanswered_bytes = len(self._frames)
        self._held = self._take_frames(now_ms, wall_ms)
        if self.outstanding:
            self._traffic.waits(now_ms)

    def lost(self, now_ms: int) -> None:
        """The peer is gone, or is being cut off; the session stays."""
        self._ended = True
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            self._engine.detach(attachment, now_ms)

    def _take_frames(self, now_ms: int, wall_ms: int) -> bool:
        """Whether frames may be left that can be handled later."""
        following, handle, budget = self._frames.next, self._handle, self._budget
        meter = budget.meter
        while self.wants_input:
            body = following()
            if body is None:
                return False
            if type(body) is bytes and len(body) > LONG_BYTES:
                self._note_long(len(body))
            handle(body, now_ms, wall_ms)
            if meter() > budget.limit:
                break
        return len(self._frames) > 0

    def _note_long(self, length: int) -> None:
        """Reads behind a long request may be answered with as many bytes."""
        attachment = self._attachment
        if attachment is not None and attachment.live is not None:
            attachment.live.longest_request = max(attachment.live.longest_request, length)

    def _prove(self, attachment: Attachment, scheme: str, auth: bytes) -> None:
        """What `auth` proves counts for each request behind it, and goes with the connection. Raises KeeperError."""
        try:
            identities = self._credentials.authenticate(scheme, auth, attachment.identities, self._identities)
        except KeeperError:
            self._traffic.server.auth_failed += 1
            raise
        if identities is not attachment.identities:
            attachment.identities = identities
            self._unproven = not self._credentials.suffice(identities)

    def _handle(self, body: bytes | Oversized, now_ms: int, wall_ms: int) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        self._ended = True
        self.output.finish()
