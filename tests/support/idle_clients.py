"""Many sessions that do nothing but live: `python -m idle_clients PORT COUNT`, a process of its own.

It obeys words on its standard input, one a line, and answers each with a line of JSON:

    visit     open COUNT sessions, and drop their connections
    open      open COUNT connections with a session each
    ping      let every session say that it lives; how many were answered
    drop      close every socket, all at once; the sessions stay
    resume    connect again with every session, all at once; how many were given back
    end       close the sessions

Every socket is non-blocking behind one selector, so that a storm is one.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute

TIMEOUT_MS = 60_000
AT_ONCE = 200
WAIT_S = 60.0
PING = jute.request(-2, int(Op.PING), ())
CLOSE = jute.request(1, int(Op.CLOSE_SESSION), ())


class One:
    """A session, and its socket."""

    def __init__(self) -> None:
        self.session_id = 0
        self.password = bytes(16)
        self.sock: socket.socket | None = None


class Crowd:
    """All sessions of this process."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._all = [One() for _ in range(count)]

    def open(self) -> int:
        """Some at a time: it is no storm."""
        for at in range(0, len(self._all), AT_ONCE):
            self._connect(self._all[at : at + AT_ONCE])
        return sum(one.session_id != 0 for one in self._all)

    def visit(self) -> int:
        """As `open`, but nobody stays: the sessions do."""
        for at in range(0, len(self._all), AT_ONCE):
            self._connect(self._all[at : at + AT_ONCE])
            self.drop()
        return sum(one.session_id != 0 for one in self._all)

    def ping(self) -> int:
        """How many were answered, each with a ping's answer and nothing else."""
        return sum(self._ask(self._all, PING, lambda one, body: struct.unpack(">i", body[:4])[0] == -2))

    def drop(self) -> int:
        """Nobody says goodbye."""
        for one in self._all:
            if one.sock is not None:
                one.sock.close()
                one.sock = None
        return len(self._all)

    def resume(self) -> int:
        """How many got their own session back."""
        return self._connect(self._all)

    def end(self) -> int:
        """How many sessions were closed."""
        return sum(self._ask(self._all, CLOSE, lambda one, body: struct.unpack(">iqi", body[:16])[2] == 0))

    def _connect(self, those: list[One]) -> int:
        for one in those:
            one.sock = socket.socket()
            one.sock.setblocking(False)
            one.sock.connect_ex(("127.0.0.1", self._port))

        def hello(one: One) -> bytes:
            return jute.connect_request(timeout_ms=TIMEOUT_MS, session_id=one.session_id, password=one.password)

        def welcomed(one: One, body: bytes) -> bool:
            response = jute.decode_connect_response(body)
            mine = response.timeout_ms > 0 and one.session_id in (0, response.session_id)
            one.session_id, one.password = response.session_id, response.password
            return mine

        return sum(self._ask(those, hello, welcomed))

    def _ask(
        self, those: list[One], question: bytes | Callable[[One], bytes], judge: Callable[[One, bytes], bool]
    ) -> list[bool]:
        """Say something on every socket once it can be written, and judge the frame that comes back."""
        selector = selectors.EpollSelector()
        good: list[bool] = []
        got: dict[One, bytes] = {}
        for one in those:
            if one.sock is not None:
                selector.register(one.sock, selectors.EVENT_WRITE, one)
        deadline = time.monotonic() + WAIT_S
        while selector.get_map() and time.monotonic() < deadline:
            for key, mask in selector.select(1.0):
                one, sock = key.data, key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    if mask & selectors.EVENT_WRITE:
                        sock.sendall(question if isinstance(question, bytes) else question(one))
                        selector.modify(sock, selectors.EVENT_READ, one)
                        continue
                    data = sock.recv(4096)
                except OSError:
                    data = b""
                got[one] = got.get(one, b"") + data
                whole = len(got[one]) >= 4 and len(got[one]) >= 4 + struct.unpack(">I", got[one][:4])[0]
                if whole or not data:
                    selector.unregister(sock)
                    good.append(whole and judge(one, got[one][4:]))
        selector.close()
        return good


def main() -> None:
    """As the module says."""
    port, count = map(int, sys.argv[1:])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(port, count)
    for line in sys.stdin:
        started = time.perf_counter()
        done = getattr(crowd, line.strip())()
        print(json.dumps({"done": done, "seconds": round(time.perf_counter() - started, 2)}), flush=True)


if __name__ == "__main__":
    main()
