"""`coord server` with its defaults."""

from __future__ import annotations

import sys
from pathlib import Path

from load.speech import JuteSpeech
from peers.process import PeerProcess, free_port


def start(directory: Path) -> PeerProcess:
    """A fresh one, its files in `directory`, which must not exist."""
    directory.mkdir(parents=True)
    port = free_port()
    arguments = ["server", "--listen", f"127.0.0.1:{port}", "--data-dir", str(directory / "data")]
    return PeerProcess([sys.executable, "-m", "cli", *arguments], port, directory / "out.log", JuteSpeech())
