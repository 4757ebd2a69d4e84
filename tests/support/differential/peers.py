"""The two servers under comparison, each a process of its own on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ZOOKEEPER_JAR = Path(os.environ.get("ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"))
READY_S = 60
TICK_MS = 3_000  # sessions of the least timeout must outlive a busy machine

ABSENT = "" if ZOOKEEPER_JAR.exists() and shutil.which("java") else "no real ZooKeeper here (make peers installs it)"
"""Why there is nothing to compare with; empty if there is."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def real_zookeeper(directory: Path, **properties: str) -> Iterator[int]:
    """A standalone ZooKeeper; gives its port. `properties` are JVM properties below `zookeeper.`."""
    (directory / "data").mkdir(parents=True)
    port = free_port()
    config = directory / "zoo.cfg"
    config.write_text(
        f"tickTime={TICK_MS}\ndataDir={directory / 'data'}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "4lw.commands.whitelist=*\nadmin.enableServer=false\nmaxClientCnxns=0\n"
    )
    flags = [f"-Dzookeeper.{key}={value}" for key, value in {"extendedTypesEnabled": "true", **properties}.items()]
    command = ["java", "-Xmx1g", *flags, "-cp", str(ZOOKEEPER_JAR), "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
    with (directory / "out.log").open("wb") as log:
        process = subprocess.Popen([*command, str(config)], stdout=log, stderr=log)
    try:
        _wait_serving(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def our_server(directory: Path, *options: str) -> Iterator[int]:
    """Ours, with the same tick; gives its port."""
    directory.mkdir(parents=True)
    command = [sys.executable, "-m", "cli", "--log-level", "warning", "server", "--listen", "127.0.0.1:0"]
    with (directory / "out.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(directory / "data"), "--tick-time-ms", str(TICK_MS), *options],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().decode()
        assert ready.startswith("READY"), (directory / "out.log").read_text()
        yield int(ready.rpartition(":")[2])
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_serving(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as asking:
                asking.sendall(b"srvr")
                if b"Mode: standalone" in asking.recv(4096):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("ZooKeeper did not come up")
