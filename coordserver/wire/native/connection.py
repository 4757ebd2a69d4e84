"""The native protocol as the server speaks it (docs/protocol.md): a connection without a socket, bytes in, bytes out.

What the driver calls, and how backpressure works, is in wire/carrier.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coordserver.core.model.access import Credentials
from coordserver.core.model.acl import Identity
from coordserver.core.model.errors import ErrorCode, KeeperError, WireError
from coordserver.core.model.operations import Op
from coordserver.core.serving.connection import Hello, Welcome
from coordserver.core.serving.engine import Engine
from coordserver.core.serving.pipeline import Attachment
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.framing import LENGTH_BYTES, Oversized, frame
from coordserver.wire.native.packing import Unpacking, leading_int, pack, unpack_prefix
from coordserver.wire.output import Output
from coordserver.wire.session_connection import EncodeEvents, SessionConnection
from coordserver.wire.traffic import Traffic

MAGIC = "coord"
VERSION = 1
HANDSHAKE_BYTES = 4096
NAME_BYTES = 256
EVENT_NUMBER = -1
NO_NUMBER = -2
"""Answers a frame whose number could not be read."""

_CREATE_SESSION = int(Op.CREATE_SESSION)
_PING = int(Op.PING)
_AUTH = int(Op.AUTH)
_AUTH_REQUIRED = int(ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH)
_BEFORE_PROOF = frozenset({_PING, _AUTH, int(Op.CLOSE_SESSION)})
_MAX_NUMBER = 2**63 - 1


class NativeConnection(SessionConnection):
    """One native connection; implements `core.seam.Sink`.

    `unpack` (an Unpacking's) and `encode_events` may be shared by all connections of a thread.
    """

    def __init__(
        self,
        engine: Engine,
        output: Output,
        limits: WireLimits,
        identities: tuple[Identity, ...] = (),
        traffic: Traffic | None = None,
        *,
        credentials: Credentials | None = None,
        unpack: Callable[[bytes], Any] | None = None,
        encode_events: EncodeEvents | None = None,
    ) -> None:
        super().__init__(
            engine,
            output,
            limits,
            identities,
            traffic,
            frame_bytes=limits.frame_bytes,
            credentials=credentials,
            encode_events=encode_events or encoded_events,
        )
        self._opening = bytearray()
        self._unpack = unpack or Unpacking(limits.frame_bytes).unpack
        self._last_zxid = 0

    @property
    def input_bytes(self) -> int:
        """Bytes that were read and not handled, those of the handshake too."""
        return len(self._opening) + len(self._frames)

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool:
        """Handle what was read; the handshake is the one thing that is no frame."""
        if not self._greeting:
            return super().receive(data, now_ms, wall_ms)
        if not self._ended:
            self._opening += data
            self._try_handshake(now_ms, wall_ms)
        return False

    def _try_handshake(self, now_ms: int, wall_ms: int) -> None:
        found = unpack_prefix(self._opening, HANDSHAKE_BYTES)
        if found is None:
            return
        value, used = found
        hello = decode_hello(value)
        self._frames.feed(bytes(self._opening[used:]))
        self._greeting = False
        self._opening.clear()
        self.name = hello.name
        self._traffic.received += 1
        self._traffic.server.greeted(hello.session_id)
        self._attachment = self._engine.connect(self, hello, self._identities, now_ms, wall_ms)
        self.resume(now_ms, wall_ms)

    def _handle(self, body: bytes | Oversized, now_ms: int, wall_ms: int) -> None:
        attachment = self._attachment
        if attachment is None:
            return
        self.outstanding += 1
        self._traffic.received += 1
        if isinstance(body, Oversized):
            self._traffic.server.too_large += 1
            number = leading_int(body.head)
            detail = f"frame of {body.length} bytes, the limit is {self._limits.frame_bytes}"
            self._refuse(attachment, number, ErrorCode.TOO_LARGE, detail)
            return
        try:
            value = self._unpack(body)
        except WireError as error:
            self._refuse(attachment, leading_int(body), ErrorCode.MALFORMED, str(error))
            return
        if type(value) is tuple and len(value) >= 3:
            number, op, acked = value[:3]
            # A match statement says the same in eight times the time.
            if (
                type(number) is type(op) is type(acked) is int
                and 0 < number <= _MAX_NUMBER
                and 0 <= acked <= _MAX_NUMBER
            ):
                if self._unproven and op not in _BEFORE_PROOF:
                    self._engine.refuse(attachment, number, _AUTH_REQUIRED, "the server wants credentials", op)
                elif op == _AUTH:
                    self._authenticate(attachment, number, value[3:], now_ms)
                else:
                    self._engine.request(attachment, number, op, acked, value[3:], now_ms, wall_ms)
                return
        detail = "not [number, operation, acked, arguments...]"
        self._refuse(attachment, leading_int(body), ErrorCode.MALFORMED, detail)

    def _authenticate(self, attachment: Attachment, number: int, arguments: Sequence[Any], now_ms: int) -> None:
        match arguments:
            case (str(scheme), bytes(auth), *_):
                try:
                    self._prove(attachment, scheme, auth)
                except KeeperError as refusal:
                    self._engine.refuse(attachment, number, int(refusal.code), refusal.detail, _AUTH)
                else:
                    self._engine.acknowledge(attachment, number, _AUTH, now_ms)
            case _:
                self._engine.refuse(attachment, number, int(ErrorCode.BAD_ARGUMENTS), "not (scheme, auth)", _AUTH)

    def _refuse(self, attachment: Attachment, number: int | None, error: int, detail: str) -> None:
        if number is None or not 0 < number <= _MAX_NUMBER:
            number = NO_NUMBER
        self._engine.refuse(attachment, number, error, detail)

    # Sink: what the state machine calls

    def welcome(self, w: Welcome) -> None:
        """The handshake's answer."""
        self.output.write(
            pack(
                (
                    MAGIC,
                    VERSION,
                    (),
                    int(w.error),
                    w.session_id,
                    w.password,
                    w.timeout_ms,
                    self._limits.announced(),
                    w.history_id,
                    w.zxid,
                    w.last_number,
                    w.attachment,
                )
            )
        )
        self._last_zxid = w.zxid
        if w.error:
            self._end()
        else:
            self._traffic.welcomed(w.session_id, w.timeout_ms, w.zxid, _CREATE_SESSION)
            self._welcomed = True

    def reply(self, number: int, zxid: int, op: int, error: int, result: tuple[Any, ...], detail: str) -> None:
        """Answer one request."""
        self.outstanding -= 1
        traffic = self._traffic
        traffic.answered += 1
        traffic.op = op
        if number >= 0 and op != _PING:
            traffic.xid = number
        traffic.zxid = self._last_zxid = zxid
        fields = (detail,) if error else result
        data = frame(pack((number, zxid, error, *fields)))
        traffic.server.replied(len(data) - LENGTH_BYTES)
        self.output.write(data)

    def events(self, zxid: int, events: Sequence[tuple[int, str]]) -> None:
        """Tell what one zxid changed."""
        self._traffic.notified += 1
        self._last_zxid = zxid
        data = self._encode_events(zxid, events)
        self._traffic.server.watch_bytes += len(data)
        self.output.write(data)

    def close(self, reason: int) -> None:
        """The attachment ends; `reason` 0 after a close_session was answered, otherwise the peer is told."""
        if reason:
            self.output.write(frame(pack((EVENT_NUMBER, self._last_zxid, None, int(reason)))))
        self._end()


def encoded_events(zxid: int, events: Sequence[tuple[int, str]]) -> bytes:
    """The frame that tells of them."""
    return frame(pack((EVENT_NUMBER, zxid, tuple((int(kind), path) for kind, path in events))))


def decode_hello(value: Any) -> Hello:
    """The client's handshake. Raises WireError naming what is wrong with it."""
    match value:
        case (
            "coord",
            int(version),
            tuple(),
            int(session_id),
            bytes(password),
            int(timeout_ms),
            int(last_zxid),
            history,
            str(name),
            *_,
        ) if history is None or isinstance(history, bytes):
            if version < 1:
                raise WireError(f"protocol version {version}")
            if not -(2**63) <= session_id < 2**63 or last_zxid >= 2**63:
                raise WireError("a number of the handshake has more than 63 bits")
            if len(name.encode()) > NAME_BYTES:
                raise WireError(f"a name of more than {NAME_BYTES} bytes")
            return Hello(session_id, password, timeout_ms, last_zxid, history, name)
    raise WireError("the handshake is not of the native protocol")
