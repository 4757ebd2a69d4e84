"""`coord server` as a process that can be stopped, killed and started again on the same port and data."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

STOP_S = 20


class ServerProcess:
    """One server. The port is the system's choice at the first start and stays. `most_files`: its limit of open files,
    0 for ours.
    """

    def __init__(self, directory: Path, *options: str, log_level: str = "warning", most_files: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "out.log"
        self._data = directory / "data"
        self._options = options
        self._log_level = log_level
        self._most_files = most_files
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start, and wait until it serves."""
        command = [sys.executable, "-m", "cli", "--log-level", self._log_level, "server", "--data-dir", str(self._data)]
        if self._most_files:
            command = ["sh", "-c", f'ulimit -n {self._most_files}; exec "$@"', "sh", *command]
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [*command, "--listen", f"127.0.0.1:{self.port}", *self._options], stdout=subprocess.PIPE, stderr=log
            )
        assert process.stdout is not None
        ready = process.stdout.readline().decode()
        assert ready.startswith("READY"), self._log.read_text()
        self.port = int(ready.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)
            self._gone()

    def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is flushed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._gone()

    def said(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text()

    def rss_kib(self) -> int:
        """Its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def open_files(self) -> int:
        """How many files it has open, sockets among them."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def metrics(self) -> dict[str, float]:
        """What /metrics says, without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        rows = (line.split(" ") for line in lines if not line.startswith("#") and "{" not in line)
        return {name: float(value) for name, value in rows}

    def _gone(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdout is not None:
            process.stdout.close()
