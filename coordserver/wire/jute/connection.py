"""ZooKeeper's protocol as the server speaks it: a connection without a socket, bytes in, bytes out.

What the driver calls, and how backpressure works, is in wire/carrier.py. What differs from the native protocol: there
is no exactly-once memory behind the numbers, a refused session is told by zeros or by silence, and some faults close
the connection where the native protocol can say what is wrong. Auth and SASL are answered at once and may overtake
requests that wait for the log, as in ZooKeeper.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

from coordserver.core.model.access import Credentials
from coordserver.core.model.acl import Identity
from coordserver.core.model.errors import ErrorCode, KeeperError, WireError
from coordserver.core.model.operations import Op
from coordserver.core.serving.connection import Hello, Welcome
from coordserver.core.serving.engine import Engine
from coordserver.core.serving.pipeline import Attachment
from coordserver.wire.detect import CONNECT_BYTES_MAX
from coordserver.wire.jute import replies
from coordserver.wire.jute.opcodes import AS_ZOOKEEPER, PING_XID, RECONFIG, SASL
from coordserver.wire.jute.primitives import RecordError, read_buffer, read_int, read_long, read_ustring
from coordserver.wire.jute.requests import DECODERS, ConnectRequest, decode_connect
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.framing import LENGTH_BYTES, Oversized
from coordserver.wire.output import Output
from coordserver.wire.session_connection import EncodeEvents, SessionConnection
from coordserver.wire.traffic import Traffic

_HEADER = struct.Struct(">ii")
_HEADER_BYTES = 8
_OK = int(ErrorCode.OK)
_CREATE_SESSION = int(Op.CREATE_SESSION)
_CREATE = int(Op.CREATE)
_MULTI = int(Op.MULTI)
_PING = int(Op.PING)
_AUTH = int(Op.AUTH)
_PROOFS = frozenset({_AUTH, SASL})
_SERVER_ONLY = frozenset({int(Op.CREATE_SESSION), int(Op.DELETE_CONTAINER), int(Op.CHECK)})
_UNIMPLEMENTED = int(ErrorCode.UNIMPLEMENTED)
_AUTH_FAILED = int(ErrorCode.AUTH_FAILED)
_AUTH_REQUIRED = int(ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH)
_ENCODERS = replies.ENCODERS
_ANSWERED_BY_STAT = frozenset({int(Op.SET_DATA), int(Op.EXISTS), int(Op.SET_ACL)})
_frame = replies.frame
_frame_of_stat = replies.frame_of_stat
_frame_of_path = replies.frame_of_path


class JuteConnection(SessionConnection):
    """One connection of a ZooKeeper client; implements `core.seam.Sink`.

    `encode_events` may be shared by all connections, which hear the same events in the same objects.
    """

    def __init__(
        self,
        engine: Engine,
        output: Output,
        limits: WireLimits,
        identities: tuple[Identity, ...] = (),
        traffic: Traffic | None = None,
        *,
        credentials: Credentials,
        encode_events: EncodeEvents = replies.notifications,
    ) -> None:
        super().__init__(
            engine,
            output,
            limits,
            identities,
            traffic,
            frame_bytes=CONNECT_BYTES_MAX,
            credentials=credentials,
            encode_events=encode_events,
        )
        self._request: ConnectRequest | None = None
        self._multis: deque[tuple[int, ...]] = deque()

    def _connect(self, body: bytes, now_ms: int, wall_ms: int) -> None:
        self._request = request = decode_connect(body)
        self._greeting = False
        self._traffic.received += 1
        self._traffic.server.greeted(request.session_id)
        self._frames.limit = self._limits.jute_frame_bytes
        hello = Hello(
            request.session_id, request.password, request.timeout_ms, max(request.last_zxid, 0), None, "", False
        )
        self._attachment = self._engine.connect(self, hello, self._identities, now_ms, wall_ms)

    def _handle(self, body: bytes | Oversized, now_ms: int, wall_ms: int) -> None:
        if isinstance(body, Oversized):
            self._traffic.server.too_large += 1
            raise WireError(f"frame of {body.length} bytes, the limit is {self._frames.limit}")
        if self._request is None:
            self._connect(body, now_ms, wall_ms)
            return
        self._traffic.received += 1
        if len(body) < _HEADER_BYTES:
            raise WireError("a frame without a request header")
        xid, op = _HEADER.unpack_from(body)
        attachment = self._attachment
        if attachment is None:
            return
        if self._unproven and op not in _PROOFS:
            self._traffic.answered += 1
            self.output.write(_frame(xid, 0, _AUTH_REQUIRED))
            self._end()
            return
        decode = DECODERS.get(op)
        if decode is None:
            self._special(attachment, xid, op, body, now_ms)
            return
        try:
            arguments = decode(body, _HEADER_BYTES)
        except RecordError as fault:
            self.outstanding += 1
            if op == _MULTI:
                self._multis.append(())
            self._engine.refuse(attachment, xid, int(ErrorCode.MARSHALLING_ERROR), str(fault), op)
            return
        self.outstanding += 1
        if op == _MULTI:
            self._multis.append(tuple(replies.result_kind(part[0], part[1:]) for part in arguments[0]))
        elif op == _PING:
            xid = PING_XID  # whatever it was
        self._engine.request(attachment, xid, op, 0, arguments, now_ms, wall_ms)

    def _special(self, attachment: Attachment, xid: int, op: int, body: bytes, now_ms: int) -> None:
        """What does not go through the core, and what is not known."""
        if op == _AUTH:
            self._engine.touch(attachment, now_ms)
            self._traffic.answered += 1
            self._authenticate(attachment, xid, body)
        elif op == SASL:
            token, _ = read_buffer(body, _HEADER_BYTES)
            if token is None:
                raise RecordError("a SASL token that is null")
            self._traffic.answered += 1
            self.output.write(_frame(xid, 0, _OK, replies.NO_TOKEN))
        elif op == RECONFIG:
            self.outstanding += 1
            error = _reconfig_error(body)
            self._engine.refuse(attachment, xid, error, "", op, logged=error == ErrorCode.RECONFIG_DISABLED)
        else:
            # Told in its turn, then the connection is closed; nothing behind it is taken.
            self.outstanding += 1
            self._refusing = True
            self._engine.refuse(attachment, xid, _UNIMPLEMENTED, f"operation {op}", op)

    def _authenticate(self, attachment: Attachment, xid: int, body: bytes) -> None:
        """What is refused, for whatever reason, is so as ZooKeeper does it. Raises RecordError for a record that is cut
        short; here that costs the connection.
        """
        _, at = read_int(body, _HEADER_BYTES)
        scheme, at = read_ustring(body, at)
        auth, _ = read_buffer(body, at)
        try:
            self._prove(attachment, scheme or "", auth or b"")
        except KeeperError:
            self.output.write(_frame(xid, 0, _AUTH_FAILED))
            self._end()
        else:
            self.output.write(_frame(xid, 0, _OK))

    # Sink: what the state machine calls

    def welcome(self, w: Welcome) -> None:
        """The handshake's answer: zeros for a session that is not there, silence where another server may serve."""
        request = self._request
        assert request is not None
        if w.error:
            if w.error == ErrorCode.SESSION_EXPIRED:
                self.output.write(replies.session_refused(request.read_only is not None))
            self._end()
            return
        read_only = None if request.read_only is None else False
        self.output.write(replies.connect_response(w.timeout_ms, w.session_id, w.password, read_only))
        self._traffic.welcomed(w.session_id, w.timeout_ms, w.zxid, _CREATE_SESSION)
        self._welcomed = True

    def reply(self, number: int, zxid: int, op: int, error: int, result: tuple[Any, ...], detail: str) -> None:
        """Answer one request."""
        self.outstanding -= 1
        traffic = self._traffic
        traffic.answered += 1
        traffic.zxid = zxid
        traffic.op = op
        if number >= 0:
            traffic.xid = number
        if op in _ANSWERED_BY_STAT and not error:
            data = _frame_of_stat(number, zxid, result[0])
        elif op == _CREATE and not error:
            data = _frame_of_path(number, zxid, result[0])
        elif op == _MULTI:
            data = self._frame_of_multi(number, zxid, error, result)
        elif not error:
            data = _frame(number, zxid, _OK, _ENCODERS[op](result))
        elif error == _UNIMPLEMENTED:
            data = _frame(number, -1, error)
        else:
            data = _frame(number, zxid, AS_ZOOKEEPER.get(error, error))
        traffic.server.replied(len(data) - LENGTH_BYTES)
        self.output.write(data)
        if error == _UNIMPLEMENTED and op != _MULTI:
            self._end()

    def _frame_of_multi(self, xid: int, zxid: int, error: int, result: tuple[Any, ...]) -> bytes:
        """Its results, or an error of the whole. Replies come in order, so the oldest kinds are its own."""
        kinds = self._multis.popleft()
        if error:
            return _frame(xid, zxid, AS_ZOOKEEPER.get(error, error))
        return _frame(xid, zxid, _OK, replies.multi(kinds, result[0]))

    def events(self, zxid: int, events: Sequence[tuple[int, str]]) -> None:
        """Tell what one zxid changed; -1 for what set_watches found changed long ago."""
        self._traffic.notified += len(events)
        data = self._encode_events(zxid, events)
        self._traffic.server.watch_bytes += len(data)
        self.output.write(data)

    def close(self, reason: int) -> None:
        """The attachment ends; whatever the reason, ZooKeeper's clients are told by the closing of the connection."""
        self._end()


def _reconfig_error(body: bytes) -> int:
    """Why a ReconfigRequest is refused."""
    at = _HEADER_BYTES
    try:
        for _ in range(3):
            _, at = read_ustring(body, at)
        read_long(body, at)
    except RecordError:
        return int(ErrorCode.MARSHALLING_ERROR)
    return int(ErrorCode.RECONFIG_DISABLED)
