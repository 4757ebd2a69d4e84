"""A live server under hostile bytes in everything it speaks: who behaves is answered rightly all the while, and nothing
is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from differential.raw import RawClient
from scale import scaled
from server_process import ServerProcess

from coordserver.core.model.access import digest_identity
from coordserver.core.model.operations import Op

FRAMES = scaled(100_000, 1_000_000)
PROCESSES = 2
SUPPORT = Path(__file__).parents[1] / "support"
AUTH = b"good:x"
MINE = ((31, "digest", digest_identity(AUTH).id),)
RSS_MAX_KIB = 400 * 1024
SETTLED_S = 30.0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, ...]:
    """Options of a server that speaks TLS, too."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return "--tls-cert", str(cert), "--tls-key", str(key)


class Behaved:
    """A client that writes, reads what it wrote, and notes how long each answer took."""

    def __init__(self, port: int) -> None:
        self._client = RawClient(port)
        assert self._client.connect(timeout_ms=30_000) is not None
        assert not self._client.auth("digest", AUTH).error
        assert not self._client.request(int(Op.CREATE), ("/good", b"", MINE, 0)).error
        self._number = 0
        self.seconds: list[float] = []

    def turn(self) -> None:
        """One write and one read, both answered rightly."""
        self._number += 1
        data = b"%d" % self._number
        stat = self._timed(int(Op.SET_DATA), ("/good", data, self._number - 1))[0]
        assert stat.version == self._number
        assert self._timed(int(Op.GET_DATA), ("/good", False)) == (data, stat)
        assert not self._client.take_events()

    def _timed(self, op: int, arguments: tuple[object, ...]) -> tuple[object, ...]:
        started = time.perf_counter()
        answer = self._client.request(op, arguments)
        self.seconds.append(time.perf_counter() - started)
        assert not answer.error, answer
        assert answer.result is not None
        return answer.result

    def close(self) -> None:
        """Leave."""
        self._client.drop()

    def told(self) -> dict[str, float]:
        """Milliseconds."""
        ordered = sorted(self.seconds)
        at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {name: round(ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1e3, 2) for name, q in at.items()}


@pytest.mark.real
@pytest.mark.timeout(120 + FRAMES // 500)
def test_a_server_under_hostile_bytes(
    tmp_path: Path, certificate: tuple[str, ...], record_property: Callable[[str, object], None]
) -> None:
    server = ServerProcess(tmp_path / "server", *certificate, "--session-timeout-min-ms", "1000")
    server.start()
    behaved = Behaved(server.port)
    try:
        for _ in range(200):
            behaved.turn()
        quiet, behaved.seconds = behaved.told(), []
        before = server.open_files()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SUPPORT), os.getcwd()))}
        hostile = [
            subprocess.Popen(
                [sys.executable, "-m", "hostile", str(server.port), str(seed), str(FRAMES // PROCESSES)],
                stdout=subprocess.PIPE,
                env=environment,
            )
            for seed in range(PROCESSES)
        ]
        try:
            while any(process.poll() is None for process in hostile):
                behaved.turn()
                time.sleep(0.005)
        finally:
            for process in hostile:
                process.kill()
        told = [json.loads(process.communicate()[0]) for process in hostile]
        assert sum(sum(one["sent"].values()) for one in told) >= FRAMES
        assert all(min(one["sent"].values()) > 0 for one in told)
        figures = {"quiet ms": quiet, "hostile ms": behaved.told(), "rss KiB": server.rss_kib(), "sent": told}
        record_property("figures", json.dumps(figures))
        print(json.dumps(figures))
        assert server.rss_kib() < RSS_MAX_KIB
        deadline = time.monotonic() + SETTLED_S
        while server.open_files() > before:
            assert time.monotonic() < deadline, "connections are left open"
            behaved.turn()
            time.sleep(0.1)
        metrics = server.metrics()
        assert metrics["coord_apply_faults"] == metrics["coord_read_faults"] == 0
    finally:
        behaved.close()
        server.kill()
