from __future__ import annotations

import pytest
import trio
from memory_server import MemoryServer


@pytest.fixture(params=["native", "jute"])
async def server(request: pytest.FixtureRequest, nursery: trio.Nursery) -> MemoryServer:
    """For tests that ask for `autojump_clock` too: the clock must be an argument of the test itself."""
    server: MemoryServer = await nursery.start(MemoryServer(zookeeper=request.param == "jute").run)
    return server
