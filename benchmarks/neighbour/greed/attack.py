"""An attack: prepared once, then struck again and again while the polite client measures."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import attrs

from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import Op
from load.lines import Line, Request, pipelined
from load.speech import JuteSpeech, NativeSpeech, WireProtocol

Figures = dict[str, Any]

ENOUGH_S = 55.0
"""What one step of an attack may take; the benchmark ends an attack that takes longer."""

OTHER_ADDRESS = "127.0.0.2"
MEGABYTE = bytes(1_000_000)
_NARROW_BYTES = 4_096
_POLL_S = 0.1


@attrs.frozen
class Target:
    """What is attacked: a port of loopback, on a scale from 0 to 1, each strike held for `hold_s`."""

    port: int
    scale: float = 1.0
    hold_s: float = 4.0

    def count(self, number: int) -> int:
        """So many on this scale, at least one."""
        return max(1, round(number * self.scale))


class Attack(Protocol):
    """What a greedy client does."""

    def prepare(self) -> Figures:
        """Make what the attack needs; not measured."""

    def strike(self) -> Figures:
        """Do it once; what came of it."""


def native(port: int) -> Line:
    """A connection of the native protocol with a session."""
    return Line(port, NativeSpeech())


def jute(port: int) -> Line:
    """A connection of ZooKeeper's protocol with a session."""
    return Line(port, JuteSpeech())


def do_all(line: Line, requests: Iterable[Request]) -> int:
    """Pipeline the requests and read every answer; how many were answered. Raises WireError if one is an error."""
    return pipelined(line, line.encode(requests), ENOUGH_S)[0]


def succeeds(line: Line, request: Request) -> bool:
    """Whether the server does what one request asks for."""
    try:
        line.ask(request)
    except WireError:
        return False
    return True


def created(path: str, data: bytes = b"", mode: int = 0) -> Request:
    """A create, open to all."""
    return Op.CREATE, (path, data, None, mode, 0)


@contextlib.contextmanager
def crowd(port: int, speech: WireProtocol, count: int, *, narrow: bool = False) -> Iterator[list[Line]]:
    """Sessions on connections of their own: so many, or as many as the server takes.

    `narrow`: the kernel keeps little of what nobody reads.
    """
    lines: list[Line] = []
    try:
        for _ in range(count):
            try:
                line = Line(port, speech)
            except (OSError, WireError):
                continue
            lines.append(line)
            if narrow:
                line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW_BYTES)
        yield lines
    finally:
        for line in lines:
            line.socket.close()


def dial_many(port: int, count: int) -> list[socket.socket]:
    """So many connections at once, without waiting until they stand.

    They come from another address than the polite client's, so that a limit for each address spares it.
    """
    found = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((OTHER_ADDRESS, 0))
        sock.connect_ex(("127.0.0.1", port))
        found.append(sock)
    return found


def pour(sockets: Sequence[socket.socket], data: bytes, seconds: float) -> int:
    """Send `data` on every socket as far as it is taken, for so long at the most; how many bytes were."""
    by_fd = {sock.fileno(): sock for sock in sockets}
    left = dict.fromkeys(by_fd, memoryview(data))
    until = time.monotonic() + seconds
    taken = 0
    with select.epoll() as epoll:
        for fd, sock in by_fd.items():
            sock.setblocking(False)
            epoll.register(fd, select.EPOLLOUT)
        while left and time.monotonic() < until:
            for fd, _ in epoll.poll(_POLL_S):
                try:
                    sent = by_fd[fd].send(left[fd])
                except BlockingIOError:
                    continue
                except OSError:  # the server does not want it
                    left[fd] = left[fd][:0]
                else:
                    taken += sent
                    left[fd] = left[fd][sent:]
                if not left[fd]:
                    epoll.unregister(fd)
                    del left[fd]
    return taken


def heard_from(sockets: Sequence[socket.socket], seconds: float) -> int:
    """How many of the sockets receive something within so long; those that are closed do not count."""
    silent = {sock.fileno(): sock for sock in sockets}
    until = time.monotonic() + seconds
    found = 0
    with select.epoll() as epoll:
        for fd in silent:
            epoll.register(fd, select.EPOLLIN)
        while silent and time.monotonic() < until:
            for fd, _ in epoll.poll(_POLL_S):
                epoll.unregister(fd)
                with contextlib.suppress(OSError):
                    found += bool(silent.pop(fd).recv(65_536))
    return found


def still_open(sockets: Sequence[socket.socket]) -> int:
    """How many of the sockets the server has not closed; what they received is left unread."""
    found = 0
    for sock in sockets:
        sock.setblocking(False)
        try:
            found += bool(sock.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            found += 1
        except OSError:
            continue
    return found


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close them, whatever they were in."""
    for sock in sockets:
        sock.close()
