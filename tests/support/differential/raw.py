"""A jute client that hides nothing: one blocking socket, every frame as it came."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute

WAIT_S = 10.0


class Answer(NamedTuple):
    """A reply. `result` is None where there was an error, or the connection was closed instead (error "closed").
    `heard`: how many events came before it since they were taken.
    """

    xid: int
    zxid: int
    error: int | str
    result: tuple[Any, ...] | None
    heard: int


class RawClient:
    """One connection. `events` gathers what was notified: (zxid, kind, path)."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._next_xid = 1
        self.events: list[tuple[int, int, str]] = []
        self.session_id = 0
        self.password = b""
        self.open = True

    def connect(self, **options: Any) -> jute.ConnectResponse | None:
        """Handshake; None where the server closed instead of answering."""
        self.send(jute.connect_request(**options))
        body = self._frame()
        if body is None:
            return None
        response = jute.decode_connect_response(body)
        self.session_id, self.password = response.session_id, response.password
        if response.timeout_ms == 0:
            self.drop()
        return response

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        try:
            self._socket.sendall(data)
        except OSError:
            self.open = False

    def request(self, op: int, arguments: Sequence[Any]) -> Answer:
        """One request and its answer."""
        return self.pipeline([(op, arguments)])[0]

    def pipeline(self, requests: Sequence[tuple[int, Sequence[Any]]]) -> list[Answer]:
        """Several requests in one write, and their answers."""
        sent: list[tuple[int, int]] = []
        data = b""
        for op, arguments in requests:
            xid = {int(Op.PING): -2, int(Op.SET_WATCHES): -8, int(Op.SET_WATCHES2): -8}.get(op, self._next_xid)
            self._next_xid += 1
            data += jute.request(xid, op, arguments)
            sent.append((xid, op))
        self.send(data)
        return [self.answer(op) for _, op in sent]

    def auth(self, scheme: str, data: bytes) -> Answer:
        """addauth."""
        self.send(jute.auth_request(-4, scheme, data))
        return self.answer(int(Op.PING))

    def answer(self, op: int) -> Answer:
        """The next reply, taken for one to `op`; events before it are gathered."""
        while True:
            body = self._frame()
            if body is None:
                return Answer(0, 0, "closed", None, 0)
            header, at = jute.decode_reply_header(body)
            if header.xid == -1:
                self.events.append((header.zxid, *jute.decode_event(body, at)))
                continue
            result = None if header.error else jute.decode_result(op, body, at)
            return Answer(header.xid, header.zxid, header.error, result, len(self.events))

    def raw(self, data: bytes) -> list[Answer]:
        """Any one frame: its answer, or the end of the connection, or both where the operation is not known."""
        self.send(data)
        found = [self.answer(int(Op.PING))]
        if found[0].error == ErrorCode.UNIMPLEMENTED:
            found.append(self.answer(int(Op.PING)))
        return found

    def closed(self) -> bool:
        """Whether the server closes the connection without another word."""
        return self._frame() is None

    def take_events(self) -> list[tuple[int, int, str]]:
        """What was notified since."""
        events, self.events = self.events, []
        return events

    def drop(self) -> None:
        """Close the socket without a goodbye."""
        self.open = False
        self._socket.close()

    def _frame(self) -> bytes | None:
        if not self.open:
            return None
        try:
            (size,) = struct.unpack(">i", self._exactly(4))
            return self._exactly(size)
        except (EOFError, OSError):
            self.drop()
            return None

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._socket.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
