"""One accepted socket and what speaks on it, as the poller sees them."""

from __future__ import annotations

import select
import socket

from coordserver.config.address import Address
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
SEND_BYTES = 256 * 1024
"""Bytes sent at a time: the kernel may take megabytes, which costs as much as serving many others."""


class Channel:
    """A non-blocking socket with its connection. Only the poller touches it.

    `background`: it is served after the foreground, which settled sessions with little work are. `light_turns` in a row
    bring it to the foreground. `queued`: it waits to go on with held input. `paused`: it is not read from because too
    much output is unsent. `unsent` and `unread` are bytes that count against the totals of all connections.
    """

    __slots__ = (
        "background",
        "blocked",
        "calm",
        "fd",
        "light_turns",
        "mask",
        "opened_ms",
        "paused",
        "peer",
        "port",
        "progress_ms",
        "queued",
        "socket",
        "unread",
        "unsent",
    )

    def __init__(self, sock: socket.socket, peer: Address, port: PortConnection, now_ms: int) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.port = port
        self.opened_ms = now_ms
        self.progress_ms = now_ms
        self.blocked = False
        self.mask = 0
        self.background = True
        self.calm = False
        self.light_turns = 0
        self.queued = False
        self.paused = False
        self.unsent = 0
        self.unread = 0

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
        return (_IN if port.hears and not self.paused else 0) | (_OUT if self.blocked else 0)

    def send(self, pending: bytearray, now_ms: int) -> None:
        """Send up to `SEND_BYTES` and take away what the kernel took; `blocked` if it did not take all of them.

        Raises OSError when the peer is gone.
        """
        if not pending:
            self.blocked = False
            return
        offered = len(pending)
        try:
            if offered <= SEND_BYTES:
                sent = self.socket.send(pending)
            else:
                offered = SEND_BYTES
                with memoryview(pending) as whole:
                    sent = self.socket.send(whole[:SEND_BYTES])
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent or not self.blocked:
            self.progress_ms = now_ms
        if sent == len(pending):
            pending.clear()
            self.blocked = False
        else:
            del pending[:sent]
            self.blocked = sent < offered
