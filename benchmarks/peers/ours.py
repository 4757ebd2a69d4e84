"""`coord server` with its defaults."""

from __future__ import annotations

import sys
from pathlib import Path

from load.speech import JuteSpeech
from peers.process import PeerProcess, free_port


def start(directory: Path, snapshot_every: int = 100_000) -> PeerProcess:
    """One whose files are in `directory`: a fresh one, or the one that was there."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    arguments = ["server", "--listen", f"127.0.0.1:{port}", "--data-dir", str(directory / "data")]
    arguments += ["--snapshot-every", str(snapshot_every)]
    return PeerProcess([sys.executable, "-m", "cli", *arguments], port, directory / "out.log", JuteSpeech())
