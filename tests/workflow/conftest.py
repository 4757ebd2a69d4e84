"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from clusters import SESSION_TIMEOUT_S, Cluster, Witness, open_cluster

from coordserver.client import connect


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster for one test."""
    async with open_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def witness() -> Witness:
    """An empty witness."""
    return Witness()


@pytest.fixture
def connecting() -> Callable[..., Any]:
    """`connect` with the session timeout of the tests."""
    return lambda address: connect(address, session_timeout=SESSION_TIMEOUT_S, name="witness")
