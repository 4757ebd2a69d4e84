"""The listening sockets: opened before recovery, so that a port in use is told at once; accepted from after it."""

from __future__ import annotations

import errno
import logging
import math
import socket
from collections.abc import Callable, Sequence

import trio

from coordserver.config.address import Address
from coordserver.core.model.errors import CoordError

_log = logging.getLogger(__name__)

ACCEPTS_A_TURN = 64
ANY_IPV6 = "::"
"""Every address, those of IPv4 too, as in ZooKeeper; where the system has no IPv6, every IPv4 address."""
ANY_IPV4 = "0.0.0.0"
_MAPPED = "::ffff:"
EXHAUSTED_PAUSE_S = 0.1
TELL_EVERY_S = 1.0
"""Connections that find no room are told in one line so often."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_OURS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})


class ListenError(CoordError):
    """An address cannot be listened on."""


def bind(addresses: Sequence[Address], backlog: int) -> list[socket.socket]:
    """Listening, non-blocking sockets. Raises ListenError; then none is left open."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            sockets.append(_bind(address, backlog))
    except ListenError:
        close(sockets)
        raise
    return sockets


def _bind(address: Address, backlog: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    family, kind, protocol, _, target = found[0]
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        if address.host == ANY_IPV6 and error.errno == errno.EAFNOSUPPORT:
            return _bind(Address(ANY_IPV4, address.port), backlog)
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(target[0] != ANY_IPV6))
        sock.bind(target)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return sock


def bound_address(sock: socket.socket) -> Address:
    """The address with the port that was really taken."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def peer_host(host: str) -> str:
    """A peer's address. IPv4 over a dual-stack socket is written as IPv4, as ACLs and limits have it."""
    mapped = host.removeprefix(_MAPPED)
    return mapped if mapped != host and "." in mapped else host


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for sock in sockets:
        sock.close()


async def accept(
    listening: socket.socket, add: Callable[[socket.socket, Address], None], room: Callable[[str, int], bool]
) -> None:
    """Accept until cancelled. `room` says whether another connection, of a host and with a descriptor, may stay; others
    are closed at once.
    """
    told_s, untold = -math.inf, 0
    while True:
        await trio.lowlevel.wait_readable(listening)
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                if error.errno in _OURS:
                    raise
                # Whatever else accept tells is of one connection: Linux hands on its pending network errors, too.
                _log.warning("cannot accept a connection: %s", error.strerror)
                if error.errno in _EXHAUSTED:
                    await trio.sleep(EXHAUSTED_PAUSE_S)
                break
            host = peer_host(peer[0])
            if not room(host, sock.fileno()):
                sock.close()
                untold += 1
                if trio.current_time() - told_s >= TELL_EVERY_S:
                    _log.warning("too many connections: %d closed at once, the last of %s", untold, host)
                    told_s, untold = trio.current_time(), 0
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            add(sock, Address(host, peer[1]))
