"""A server under comparison: started, measured from outside, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from coordserver.core.model.errors import WireError
from load.lines import Line
from load.speech import WireProtocol

READY_S = 60.0
_RETRY_S = 0.005
_GREETING_S = 0.5  # ZooKeeper may take a connection while it starts and never answer


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PeerProcess:
    """A running server. `start_s` is the time from its start to the first session that it accepted."""

    def __init__(self, command: Sequence[str], port: int, log: Path, speech: WireProtocol) -> None:
        """Start it and wait until it serves. Raises RuntimeError with the end of its log if it does not."""
        self.port = port
        started = time.perf_counter()
        with log.open("wb") as sink:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        try:
            line = self._first_session(speech, started + READY_S)
        except BaseException:
            self.end()
            raise
        if line is None:
            self.end()
            raise RuntimeError(f"{command[0]} does not serve: {log.read_text(errors='replace')[-500:]}")
        self.start_s = time.perf_counter() - started
        line.end_session()
        line.socket.close()

    def rss_bytes(self) -> int:
        """Memory in use now, all of it resident (VmRSS)."""
        for row in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if row.startswith("VmRSS:"):
                return int(row.split()[1]) * 1024
        raise RuntimeError("the server has ended")

    def cpu_s(self) -> float:
        """Processor time that it has used, in all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        self._process.wait(READY_S)

    def end(self) -> None:
        """Kill it and wait."""
        self._process.kill()
        self._process.wait()

    def _first_session(self, speech: WireProtocol, until: float) -> Line | None:
        while time.perf_counter() < until and self._process.poll() is None:
            try:
                return Line(self.port, speech, _GREETING_S)
            except (OSError, WireError):
                time.sleep(_RETRY_S)
        return None
