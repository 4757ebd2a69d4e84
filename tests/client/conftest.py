from __future__ import annotations

import pytest
import trio
from memory_server import MemoryServer


@pytest.fixture
async def server(autojump_clock: object, nursery: trio.Nursery) -> MemoryServer:
    server: MemoryServer = await nursery.start(MemoryServer().run)
    return server
