"""TLS on the one port, without a socket: encrypted bytes in and out, and inside it the same choice of protocols again.

To the port it is one more kind of connection. OpenSSL works on two memory buffers, so that the poller drives TLS as it
drives everything else; a handshake costs it about a millisecond. What the inner connection wants to say stays in the
inner output until it is encrypted, and no more is encrypted than the outer output takes, so that both limits hold.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from coordserver.core.errors import WireError
from coordserver.wire.distinguished_name import subject_of
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection
from coordserver.wire.sniff import Speech

READ_BYTES = 65_536
RECORD_BYTES = 16_384
LENGTH_BYTES = 4


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
        self._plain = Output(output.wake, soft=output.soft, hard=output.hard)
        self._inner: PortConnection | None = None
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
        return self._inner is not None and self._inner.holds_input

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool:
        """Decrypt and handle. Raises WireError where the peer does not speak TLS, or ends it."""
        self._incoming.write(data)
        try:
            inner = self._inner or self._handshake()
            while inner is not None and (plain := self._decrypt()) is not None:
                inner.receive(plain, now_ms, wall_ms)
        except ssl.SSLError as fault:
            self._pump()  # the alert that tells the peer why
            raise WireError(f"TLS: {fault.reason or fault}") from None
        self._pump()
        return False

    def resume(self, now_ms: int, wall_ms: int) -> None:
        """Handle held input as far as the limits allow."""
        if self._inner is not None:
            self._inner.resume(now_ms, wall_ms)

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
        while plain.pending and not self._output.crowded:
            sent = self._tls.write(bytes(plain.pending[: self._record_bytes()]))
            del plain.pending[:sent]
            self._frame_left -= sent
            self._pump()
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
        if self._inner is None or self._inner.speech is not Speech.JUTE:
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
