"""The two servers under comparison, each a process of its own on a free port of loopback.

Neither looks for containers and TTL znodes to remove while they are compared: it would use zxids at times of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server_process import ServerProcess

ZOOKEEPER_JAR = Path(os.environ.get("ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"))
READY_S = 60
NEVER_MS = 86_400_000
SNAPSHOTS = ("--snapshot-every", "2000")
"""Of ours, so that histories meet them."""
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
    flags.append(f"-Dznode.container.checkIntervalMs={NEVER_MS}")
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
    server = ServerProcess(directory, "--tick-time-ms", str(TICK_MS), *options)
    try:
        server.start()
        yield server.port
    finally:
        server.kill()


@contextmanager
def both(directory: Path) -> Iterator[tuple[int, int]]:
    """The real one and ours, set up alike: hard limits of quotas are enforced."""
    with (
        real_zookeeper(directory / "real", enforceQuota="true") as real,
        our_server(directory / "ours", "--enforce-quota", "--container-check-ms", str(NEVER_MS), *SNAPSHOTS) as ours,
    ):
        yield real, ours


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
