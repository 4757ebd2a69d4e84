"""Connections under load, and the three ways to drive them: pipelined, in turns, and waiting for an event.

Everything that is sent was encoded before the clock runs. Replies are told apart by the length before them; what they
say is looked at only in the first and the last of a connection, for a server that refuses is a fast one.
"""

from __future__ import annotations

import gc
import select
import socket
import struct
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import Op
from load.speech import PIPELINED, WireProtocol

READ_BYTES = 1 << 18
ANSWER_S = 60.0
"""Longer than anything takes; a server that is silent so long has failed."""

Request = tuple[Op, tuple[Any, ...]]

_length_at = struct.Struct(">I").unpack_from


class Line:
    """One connection with a session of its own. Numbers rise over its life."""

    def __init__(self, port: int, speech: WireProtocol, greeting_s: float = ANSWER_S) -> None:
        """Dial and greet. Raises OSError or WireError where nobody, or nobody of this protocol, answers."""
        self.speech = speech
        self.number = 0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=greeting_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(speech.hello())
            answer = b""
            while not speech.greeted(answer):
                answer += self._receive()
        except BaseException:
            self.socket.close()
            raise
        self.socket.settimeout(ANSWER_S)

    def encode(self, requests: Iterable[Request]) -> list[bytes]:
        """The next requests as bytes, to be sent in this order."""
        encoded = []
        for op, arguments in requests:
            self.number += 1
            encoded.append(self.speech.request(self.number, op, arguments))
        return encoded

    def ask(self, request: Request) -> None:
        """One request and its reply."""
        self.socket.sendall(self.encode([request])[0])
        self.speech.check(self.frame())

    def frame(self) -> bytes:
        """The next frame, if nothing comes behind it."""
        data = self._receive()
        while len(data) < 4 or len(data) < 4 + _length_at(data)[0]:
            data += self._receive()
        return data

    def end_session(self) -> None:
        """So that none is left to expire while something else is measured."""
        self.ask((Op.CLOSE_SESSION, ()))

    def _receive(self) -> bytes:
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise WireError("the server closed the connection")
        return data


@contextmanager
def lines(port: int, speech: WireProtocol, count: int) -> Iterator[list[Line]]:
    """So many connections, closed at the end, and their sessions too unless something failed."""
    opened: list[Line] = []
    try:
        for _ in range(count):
            opened.append(Line(port, speech))
        yield opened
        for line in opened:
            line.end_session()
    finally:
        for line in opened:
            line.socket.close()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The collector of this process rests."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def pipelined(line: Line, encoded: Sequence[bytes], seconds: float, window: int = PIPELINED) -> tuple[int, float]:
    """Send all with at most `window` unanswered, for `seconds` at the most: (answered, seconds taken)."""
    data = b"".join(encoded)
    ends = [0, *accumulate(map(len, encoded))]
    sock = line.socket
    sent = done = 0
    rest = last = b""
    with _undisturbed():
        started = now = time.perf_counter()
        until = started + seconds
        goal = len(encoded)
        while done < goal:
            if sent < goal and sent - done <= window // 2:
                following = min(goal, done + window)
                sock.sendall(data[ends[sent] : ends[following]])
                sent = following
            received = rest + sock.recv(READ_BYTES)
            if received == rest:
                raise WireError("the server closed the connection")
            count, at, last_at = _whole_frames(received)
            if count:
                if not done:
                    line.speech.check(received[: 4 + _length_at(received)[0]])
                last = received[last_at:at]
                done += count
            rest = received[at:]
            now = time.perf_counter()
            if now > until:
                goal = sent
    line.speech.check(last)
    return done, now - started


def _whole_frames(received: bytes) -> tuple[int, int, int]:
    """How many whole frames there are, where they end, and where the last one begins."""
    count = at = last_at = 0
    held = len(received)
    while at + 4 <= held:
        end = at + 4 + _length_at(received, at)[0]
        if end > held:
            break
        last_at, at = at, end
        count += 1
    return count, at, last_at


def turns(asking: Sequence[Line], encoded: Sequence[Iterable[bytes]], seconds: float) -> tuple[array[float], float]:
    """Every connection asks one at a time, for `seconds` or until it has asked all: (durations, seconds taken)."""
    durations = array("d")
    epoll = select.epoll()
    by_fd = {line.socket.fileno(): line.socket for line in asking}
    following = {line.socket.fileno(): iter(requests) for line, requests in zip(asking, encoded, strict=True)}
    sent_at: dict[int, float] = {}
    last: dict[int, bytes] = {}
    parts: dict[int, bytes] = {}
    clock = time.perf_counter
    for fd in by_fd:
        epoll.register(fd, select.EPOLLIN)
    with _undisturbed(), epoll:
        started = now = clock()
        until = started + seconds
        for fd, sock in by_fd.items():
            sent_at[fd] = clock()
            sock.send(next(following[fd]))
        while sent_at:
            ready = epoll.poll(ANSWER_S)
            if not ready:
                raise WireError("no answer")
            for fd, _ in ready:
                sock = by_fd[fd]
                data = parts.pop(fd, b"") + sock.recv(READ_BYTES)
                if len(data) < 4 or len(data) < 4 + _length_at(data)[0]:
                    parts[fd] = data
                    continue
                now = clock()
                durations.append(now - sent_at[fd])
                request = next(following[fd], None) if now < until else None
                if request is None:
                    del sent_at[fd]
                    last[fd] = data
                else:
                    sent_at[fd] = now
                    sock.send(request)
    for line in asking:
        line.speech.check(last[line.socket.fileno()])
    return durations, now - started


def heard(watching: Sequence[Line], setter: Line, request: Request) -> float:
    """Seconds from sending `request` until each of those watching has been told of it."""
    [change] = setter.encode([request])
    epoll = select.epoll()
    by_fd = {line.socket.fileno(): line.socket for line in watching}
    for fd in by_fd:
        epoll.register(fd, select.EPOLLIN)
    with _undisturbed(), epoll:
        started = time.perf_counter()
        setter.socket.sendall(change)
        waiting = len(by_fd)
        while waiting:
            ready = epoll.poll(ANSWER_S)
            if not ready:
                raise WireError(f"{waiting} were not told")
            for fd, _ in ready:
                if not by_fd[fd].recv(READ_BYTES):
                    raise WireError("the server closed the connection of a watcher")
                waiting -= 1
        taken = time.perf_counter() - started
    setter.speech.check(setter.frame())
    return taken
