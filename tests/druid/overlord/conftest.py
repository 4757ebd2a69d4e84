"""A coordination server of the test's own, and workers on it that the test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from played_workers import Play, player

from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle:
        yield handle


@pytest.fixture
def play(server: ServerHandle, nursery: trio.Nursery) -> Play:
    """Start a worker of a name and capacity."""
    return player(server.address, nursery)
