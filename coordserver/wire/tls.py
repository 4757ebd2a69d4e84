"""TLS on the one port, without a socket: encrypted bytes in and out, and inside it the same choice of protocols again.

To the port it is one more kind of connection. OpenSSL works on two memory buffers, so that the poller drives TLS as it
drives everything else. What the inner connection wants to say stays in the inner output until it is encrypted, and
little is encrypted ahead of the socket, so that both outputs stay within their limits. `unsent` tells the driver that
plain bytes wait: it calls `prepare` again once the socket has taken what was encrypted.

A step of the handshake costs about a millisecond. So `receive` only takes its bytes, and `resume` does it: the driver
decides how many handshakes a turn has.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from coordserver.core.model.errors import WireError
from coordserver.wire.detect import WireProtocol
from coordserver.wire.distinguished_name import subject_of
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection

READ_BYTES = 65_536
RECORD_BYTES = 16_384
LENGTH_BYTES = 4
AHEAD_BYTES = 256 * 1024
"""So much is encrypted ahead of the socket."""


class TlsConnection:
    """A TLS server's side. `make_inner` is called after the handshake with the inner output and the subject of the
    client's certificate, empty if it showed none.
    """

    def __init__(
        self, output: Output, context: ssl.SSLContext, make_inner: Callable[[Output, str], PortConnection]
    ) -> None:
        self._output = output
        self._make_inner = make_inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._verifies = context.verify_mode is not ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._plain = Output(output.wake, soft=output.soft, hard=output.hard, budget=output.budget)
        self._ahead = min(AHEAD_BYTES, output.soft)
        self._inner: PortConnection | None = None
        self._held = False
        self._frame_left = 0

    @property
    def attached(self) -> bool:
        """A session is attached inside."""
        return self._inner is not None and self._inner.settled

    @property
    def shaking_hands(self) -> bool:
        """The handshake is under way."""
        return self._inner is None

    @property
    def wants_input(self) -> bool:
        """Reading makes sense now."""
        if self._output.finished:
            return False
        return self._inner is None or self._inner.wants_input

    @property
    def holds_input(self) -> bool:
        """Bytes were read that `resume` may be able to handle."""
        return self._held or (self._inner is not None and self._inner.holds_input)

    @property
    def input_bytes(self) -> int:
        """Bytes that were read and not handled, encrypted or not."""
        return self._incoming.pending + (self._inner.input_bytes if self._inner is not None else 0)

    @property
    def unsent(self) -> int:
        """Bytes that wait to be encrypted."""
        return len(self._plain.pending)

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool:
        """Decrypt and handle; a step of the handshake waits for `resume`. Raises WireError where the peer does not
        speak TLS, or ends it.
        """
        self._incoming.write(data)
        if self._inner is None:
            self._held = True
        else:
            self.resume(now_ms, wall_ms)
        return False

    def resume(self, now_ms: int, wall_ms: int) -> None:
        """Go on with the handshake, or handle held input as far as the limits and the work budget allow."""
        try:
            inner = self._inner or self._handshake()
            self._held = inner is not None and self._handle(inner, now_ms, wall_ms)
        except ssl.SSLError as fault:
            self._pump()  # the alert that tells the peer why
            raise WireError(f"TLS: {fault.reason or fault}") from None
        self._pump()

    def _handle(self, inner: PortConnection, now_ms: int, wall_ms: int) -> bool:
        """Hand decrypted bytes to the inner connection; whether bytes may be left that can be handled later."""
        spent = self._output.budget.spent
        if inner.holds_input:
            inner.resume(now_ms, wall_ms)
        while inner.wants_input and not inner.holds_input:
            if (plain := self._decrypt()) is None:
                return False
            inner.receive(plain, now_ms, wall_ms)
            if spent():
                break
        return self._incoming.pending > 0 or self._tls.pending() > 0

    def lost(self, now_ms: int) -> None:
        """The peer is gone, or is being cut off."""
        if self._inner is not None:
            self._inner.lost(now_ms)

    def prepare(self) -> None:
        """Encrypt what the inner connection wants to say, as much as the outer output takes; at the end say goodbye."""
        plain = self._plain
        plain.looked()
        if self._inner is not None:
            self._inner.prepare()
        while plain.pending and len(self._output.pending) <= self._ahead:
            sent = self._tls.write(bytes(plain.pending[: self._record_bytes()]))
            del plain.pending[:sent]
            self._frame_left -= sent
            self._pump()
        plain.compact()
        if plain.overflowed:
            self._output.overflowed = True
        elif plain.finished and not plain.pending and not self._output.finished:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # our close_notify is written; we do not wait for the peer's
            self._pump()
            self._output.finish()

    def _record_bytes(self) -> int:
        """How much goes into the next record: over jute never two frames. kazoo waits for its socket after each frame
        and would not see what OpenSSL has already read of that record: a reply would wait for the next ping.
        """
        if self._inner is None or self._inner.speech is not WireProtocol.JUTE:
            return RECORD_BYTES
        if self._frame_left <= 0:
            self._frame_left = LENGTH_BYTES + int.from_bytes(self._plain.pending[:LENGTH_BYTES], "big")
        return min(self._frame_left, RECORD_BYTES)

    def _handshake(self) -> PortConnection | None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return None
        certificate = self._tls.getpeercert(binary_form=True) if self._verifies else None
        self._inner = self._make_inner(self._plain, subject_of(certificate) if certificate else "")
        return self._inner

    def _decrypt(self) -> bytes | None:
        try:
            plain = self._tls.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return None
        if not plain:
            raise WireError("the peer ended TLS")
        return plain

    def _pump(self) -> None:
        if self._outgoing.pending:
            self._output.write(self._outgoing.read())
