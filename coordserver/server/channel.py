"""One accepted socket and what speaks on it, as the poller sees them."""

from __future__ import annotations

import select
import socket

from coordserver.config.address import Address
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT


class Channel:
    """A non-blocking socket with its connection. Only the poller touches it."""

    __slots__ = ("blocked", "fd", "mask", "opened_ms", "peer", "port", "progress_ms", "socket")

    def __init__(self, sock: socket.socket, peer: Address, port: PortConnection, now_ms: int) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.port = port
        self.opened_ms = now_ms
        self.progress_ms = now_ms
        self.blocked = False
        self.mask = 0

    @property
    def open(self) -> bool:
        """The socket is not closed."""
        return self.socket.fileno() >= 0

    @property
    def output(self) -> Output:
        """What waits to be sent."""
        return self.port.output

    def wanted_mask(self) -> int:
        """What epoll should report for it now. Hang-ups and errors are reported always."""
        port = self.port
        hears = port.hears if port.session is None else port.session.wants_input
        return (_IN if hears else 0) | (_OUT if self.blocked else 0)

    def send(self, pending: bytearray, now_ms: int) -> None:
        """Send what the kernel takes at once, and take it away. Raises OSError when the peer is gone."""
        if not pending:
            self.blocked = False
            return
        try:
            sent = self.socket.send(pending)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent or not self.blocked:
            self.progress_ms = now_ms
        if sent == len(pending):
            pending.clear()
            self.blocked = False
        else:
            del pending[:sent]
            self.blocked = True
