"""A real server and sessions on it, over both protocols: what is done with the tree must be right with ZooKeeper's."""

from __future__ import annotations

import pytest
from tree_sessions import eventually, expire, other, paths, server, zk

__all__ = ["eventually", "expire", "other", "paths", "server", "zk"]


@pytest.fixture(params=["coord", "zk"])
def scheme(request: pytest.FixtureRequest) -> str:
    protocol: str = request.param
    return protocol
