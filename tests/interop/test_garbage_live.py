"""A server under hostile bytes from many connections: who behaves is served as if there were nobody else."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from differential import malformed
from differential.raw import RawClient
from fuzzing.__main__ import bent, seeds
from kazoo_clients import Thread
from server_process import ServerProcess

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute
from coordserver.wire.jute.requests import DECODERS
from coordserver.wire.native.client import encode_hello
from coordserver.wire.native.framing import frame

FRAMES = 100_000
HOSTILE = 4
A_CONNECTION = 500
GROUP = 20
WAIT_S = 20.0
RSS_MAX_KIB = 300 * 1024
OPS = sorted(set(DECODERS) - {int(Op.CLOSE_SESSION)})
OPEN = ((31, "world", "anyone"),)
LEGAL = ((int(Op.CREATE), ("/fuzz", b"x", OPEN, 0)), (int(Op.GET_DATA), ("/fuzz", True)), (int(Op.SYNC), ("/fuzz",)))


@pytest.fixture
def quiet_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of this test's own."""
    server = ServerProcess(tmp_path / "server")
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Hostile:
    """Sends frames that are no good, on one connection after another; most of them cost it only an answer.

    It sends half as many again: what comes behind the frame that closes a connection nobody reads.
    """

    def __init__(self, port: int, seed: int, frames: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._corpus = seeds()
        self._left = frames

    def run(self) -> int:
        """How many connections it took."""
        connections = 0
        while self._left > 0:
            connections += 1
            with socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S) as sock:
                try:
                    self._pour(sock)
                except OSError:
                    pass  # the server had enough of it
        return connections

    def _pour(self, sock: socket.socket) -> None:
        """Frames in small groups; those of a group count once the server has read them and not closed."""
        jute_spoken = self._random.random() < 0.6
        sock.sendall(jute.connect_request(timeout_ms=4_000) if jute_spoken else encode_hello(timeout_ms=4_000))
        sock.settimeout(0.01)
        for _ in range(A_CONNECTION // GROUP):
            sock.sendall(b"".join(self._jute() if jute_spoken else self._native() for _ in range(GROUP)))
            try:
                if not sock.recv(1 << 20):
                    return
            except TimeoutError:
                pass
            self._left -= GROUP

    def _jute(self) -> bytes:
        if self._random.random() < 0.01:
            return malformed.draw(self._random, self._random.choice(LEGAL), "/fuzz")
        head = struct.pack(">ii", self._random.randrange(1 << 31), self._random.choice(OPS))
        body = bent(self._random, self._corpus)[self._random.choice((0, 8, 12)) :]
        return frame(head + body)

    def _native(self) -> bytes:
        data = bent(self._random, self._corpus)
        return data if self._random.random() < 0.01 else frame(data)


class Behaved:
    """Writes and reads, and knows what must come back."""

    def __init__(self, port: int) -> None:
        self._client = RawClient(port)
        assert self._client.connect(timeout_ms=30_000) is not None
        self._client.request(int(Op.CREATE), ("/good", b"0", OPEN, 0))
        self.rounds = 0

    def close(self) -> None:
        """Leave."""
        self._client.drop()

    def run(self, ends: threading.Event) -> None:
        while not ends.is_set():
            data = b"%d" % self.rounds
            put, got, none, pong = self._client.pipeline(
                [
                    (int(Op.SET_DATA), ("/good", data, self.rounds)),
                    (int(Op.GET_DATA), ("/good", False)),
                    (int(Op.GET_DATA), ("/none", False)),
                    (int(Op.PING), ()),
                ]
            )
            assert (put.error, got.error, none.error, pong.error) == (0, 0, -101, 0)
            assert got.result is not None
            assert got.result[0] == data
            self.rounds += 1
            assert got.result[1].version == self.rounds


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_hundred_thousand_bad_frames(quiet_server: ServerProcess) -> None:
    seed = int(time.time())
    print(f"seed {seed}")
    behaved, ends = Behaved(quiet_server.port), threading.Event()
    good = Thread(lambda: behaved.run(ends))
    hostile = [Hostile(quiet_server.port, seed + i, FRAMES * 3 // 2 // HOSTILE) for i in range(HOSTILE)]
    connections = sum(thread.result(240) for thread in [Thread(one.run) for one in hostile])
    ends.set()
    good.result()
    print(f"{connections} hostile connections, {behaved.rounds} good rounds")
    assert behaved.rounds > 10
    behaved.close()
    with socket.create_connection(("127.0.0.1", quiet_server.port), timeout=WAIT_S) as asking:
        asking.sendall(b"srvr")
        received = re.search(rb"^Received: (\d+)$", asking.recv(65536), re.MULTILINE)
    assert received is not None
    assert int(received[1]) >= FRAMES
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{quiet_server.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    assert int(found[1]) < RSS_MAX_KIB
    fresh = RawClient(quiet_server.port)
    assert fresh.connect(timeout_ms=4_000) is not None
    fresh.drop()
