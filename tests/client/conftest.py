from __future__ import annotations

import pytest
import trio
from memory_server import MemoryServer


@pytest.fixture
async def server(nursery: trio.Nursery) -> MemoryServer:
    """For tests that ask for `autojump_clock` too: the clock must be an argument of the test itself."""
    server: MemoryServer = await nursery.start(MemoryServer().run)
    return server
