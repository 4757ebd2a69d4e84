"""Debian's ZooKeeper, standalone, with its defaults: fsync before each answer, a heap of 1000 MB (zkEnv.sh).

What differs from the defaults: no limit on connections from one host (200 come from it), and no HTTP admin server.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from load.speech import JuteSpeech
from peers.process import PeerProcess, free_port

JAR = Path(os.environ.get("ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"))
HEAP = "-Xmx1000m"


def present() -> bool:
    """Whether it is installed here (`make peers` does it)."""
    return JAR.exists() and shutil.which("java") is not None


def start(directory: Path, snapshot_every: int = 100_000, heap: str = HEAP) -> PeerProcess:
    """One whose files are in `directory`: a fresh one, or the one that was there."""
    (directory / "data").mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "zoo.cfg"
    config.write_text(
        f"tickTime=2000\ndataDir={directory / 'data'}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "maxClientCnxns=0\nadmin.enableServer=false\n"
    )
    command = ["java", heap, f"-Dzookeeper.snapCount={snapshot_every}", "-cp", str(JAR)]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]
    return PeerProcess(command, port, directory / "out.log", JuteSpeech())
