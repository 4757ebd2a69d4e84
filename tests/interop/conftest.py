"""One server for all tests of this folder; each has znodes of its own below a root named after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from differential.peers import ABSENT, both
from kazoo_clients import Clients
from server_process import ServerProcess

TIMEOUTS = ("--session-timeout-min-ms", "400", "--session-timeout-max-ms", "60000")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with short session timeouts for who asks for them."""
    running = ServerProcess(tmp_path_factory.mktemp("interop"), *TIMEOUTS)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture
def clients(server: ServerProcess) -> Iterator[Clients]:
    """Makes clients of it."""
    with Clients(server.port) as made:
        yield made


@pytest.fixture
def root(request: pytest.FixtureRequest, clients: Clients) -> str:
    """A znode for this test alone."""
    path = f"/{request.node.name}"
    clients().ensure_path(path)
    return path


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Ports of a real ZooKeeper and of ours, set up alike."""
    if ABSENT:
        pytest.skip(ABSENT)
    with both(tmp_path_factory.mktemp("peers")) as ports:
        yield ports
