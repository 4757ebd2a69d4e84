"""The port that a worker had: with `--port 0` it comes back under the address that its tasks are kept under.

A worker's name in the tree is its host and port, and below that name lie the statuses of its tasks. A free port that is
another one at each start would leave them to nobody.
"""

from __future__ import annotations

import socket
from pathlib import Path

from druidroles.atomic_files import write_file

_NAME = "port"


def keep_port(data_dir: Path, port: int) -> None:
    """Note the port. Blocks; raises OSError."""
    write_file(data_dir / _NAME, str(port).encode())


def kept_port(data_dir: Path, host: str) -> int:
    """The port noted in a data directory, 0 if there is none or another process has it now."""
    try:
        port = int((data_dir / _NAME).read_text())
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 65_536 and _is_free(host, port) else 0


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True
