"""Thousands of connections: idle, in a storm, opened and dropped. Nothing is dropped, and nothing is left behind."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scale import scaled
from server_process import ServerProcess

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute

IDLE = scaled(2_000, 10_000)
PROCESSES = 4
STORM = 2_000
OPENED = scaled(3_000, 20_000)
AT_ONCE = 100
LOW_LIMIT = 512
FEW_FILES = 200
OPEN = ((31, "world", "anyone"),)
CONNECTION_MAX_KIB = 12
SESSION_MAX_KIB = 6
WAVES = scaled(30, 10)
LEFT_MAX_BYTES = 100
WAIT_S = 60.0
SUPPORT = Path(__file__).parents[1] / "support"

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@contextmanager
def few_files() -> Iterator[None]:
    """Processes started meanwhile have a low soft limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LOW_LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "server", "--session-timeout-max-ms", "120000", "--listen-backlog", "4096")
    with few_files():
        running.start()
    try:
        yield running
    finally:
        running.kill()


class Crowds:
    """Several processes of idle clients that do the same at the same time."""

    def __init__(self, port: int, count: int) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SUPPORT), os.getcwd()))}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "idle_clients", str(port), str(count // PROCESSES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            for _ in range(PROCESSES)
        ]

    def all_do(self, word: str) -> tuple[int, float]:
        """How many of all did, and how long the slowest took."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())
            process.stdin.flush()
        told = [json.loads(process.stdout.readline()) for process in self._processes if process.stdout is not None]
        return sum(one["done"] for one in told), max(one["seconds"] for one in told)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@contextmanager
def crowds(port: int, count: int) -> Iterator[Crowds]:
    made = Crowds(port, count)
    try:
        yield made
    finally:
        made.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_idle_connections_cost_little_and_none_is_dropped(
    server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    """Sessions first, without connections, then a connection each: what either costs."""
    with crowds(server.port, PROCESSES) as few:  # so that the log is open as it is once it was written
        assert few.all_do("open")[0] == few.all_do("end")[0] == PROCESSES
    until(lambda: server.metrics()["global_sessions"] == 0, "sessions are left")
    files, empty = server.open_files(), server.rss_kib()
    with crowds(server.port, IDLE) as crowd:
        assert crowd.all_do("visit")[0] == IDLE
        until(lambda: server.open_files() <= files, "sockets are left open")
        sessions = server.rss_kib()
        assert crowd.all_do("resume")[0] == IDLE
        both = server.rss_kib()
        assert server.open_files() >= IDLE
        for _ in range(3):
            assert crowd.all_do("ping")[0] == IDLE
            time.sleep(2)
        metrics = server.metrics()
        assert metrics["global_sessions"] == IDLE
        assert metrics["coord_connections_cut_off"] == metrics["stale_sessions_expired"] == 0
        figures = {
            "connections": IDLE,
            "KiB a session": round((sessions - empty) / IDLE, 2),
            "KiB a connection": round((both - sessions) / IDLE, 2),
            "rss KiB": server.rss_kib(),
        }
        record_property("figures", json.dumps(figures))
        print(json.dumps(figures))
        assert (sessions - empty) / IDLE < SESSION_MAX_KIB
        assert (both - sessions) / IDLE < CONNECTION_MAX_KIB
        assert crowd.all_do("end")[0] == IDLE
    until(lambda: server.metrics()["global_sessions"] == 0, "sessions are left")


def test_a_storm_of_reconnects(server: ServerProcess, record_property: Callable[[str, object], None]) -> None:
    """All lose their connection at once and come back at once, each to its own session."""
    with crowds(server.port, STORM) as crowd:
        assert crowd.all_do("open")[0] == STORM
        seconds = []
        for _ in range(3):
            crowd.all_do("drop")
            given_back, took = crowd.all_do("resume")
            assert given_back == STORM
            seconds.append(took)
        assert crowd.all_do("ping")[0] == STORM
        assert server.metrics()["global_sessions"] == STORM
        record_property("figures", json.dumps(seconds))
        print("storm, seconds:", seconds)


def test_connections_opened_and_dropped_leave_nothing(server: ServerProcess) -> None:
    """Bare ones, half-spoken ones, and some with a session, which ends.

    The resident memory is that of the fullest moment so far, which is another one in each run, and what leaks fills its
    holes first: so many connections follow the first ones that what each leaves behind is more than both.
    """
    files = server.open_files()
    open_and_drop(server.port, OPENED)
    until(lambda: server.open_files() <= files, "sockets are left open")
    first = server.rss_kib()
    for _ in range(WAVES):
        open_and_drop(server.port, OPENED)
        until(lambda: server.open_files() <= files, "sockets are left open")
    left = (server.rss_kib() - first) * 1024 / (WAVES * OPENED)
    assert left < LEFT_MAX_BYTES, f"{left:.0f} bytes of every connection are left"
    assert server.metrics()["global_sessions"] == 0


def open_and_drop(port: int, count: int) -> None:
    half = jute.connect_request(timeout_ms=4_000)[:20]
    beginnings = (b"", b"\0\0", half, b"\x95", b"GET /metrics HT", b"\x16\x03\x01", b"ru")
    for at in range(0, count, AT_ONCE):
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(AT_ONCE)]
        for number, sock in enumerate(held):
            sock.sendall(beginnings[(at + number) % len(beginnings)])
            sock.close()


def test_writes_go_on_where_connections_have_taken_all_descriptors(tmp_path: Path) -> None:
    """The log takes further segments and a snapshot is written; one line says that there is less room than wanted."""
    options = ("--segment-bytes", "65536", "--snapshot-every", "100")
    running = ServerProcess(tmp_path / "server", *options, log_level="info", most_files=FEW_FILES)
    running.start()
    opened: list[socket.socket] = []
    try:
        client = socket.create_connection(("127.0.0.1", running.port), WAIT_S)
        opened.append(client)
        client.sendall(jute.connect_request(timeout_ms=30_000))
        read_frame(client)
        opened += [socket.create_connection(("127.0.0.1", running.port), WAIT_S) for _ in range(2 * FEW_FILES)]
        assert opened[-1].recv(1) == b"", "there is room for more"
        for number in range(200):
            client.sendall(jute.request(number, int(Op.CREATE), (f"/n{number}", bytes(2_000), OPEN, 0)))
            assert jute.decode_reply_header(read_frame(client))[0].error == 0
        data = tmp_path / "server" / "data"
        until(lambda: any(data.glob("snapshot.*")), "no snapshot is written")
        opened.pop(1).close()
        until(lambda: running.open_files() < FEW_FILES - 30, "no place is free")
        metrics = running.metrics()
        assert metrics["coord_connections_max"] < FEW_FILES
        assert metrics["connection_rejected"] > FEW_FILES
        assert running.said().count("max_connections is lowered from 20000 to ") == 1
        assert "Too many open files" not in running.said()
    finally:
        for sock in opened:
            sock.close()
        running.kill()


def read_frame(sock: socket.socket) -> bytes:
    """The next frame's body."""

    def read(length: int) -> bytes:
        got = b""
        while len(got) < length:
            part = sock.recv(length - len(got))
            assert part, "the server has closed the connection"
            got += part
        return got

    return read(int.from_bytes(read(4), "big"))
