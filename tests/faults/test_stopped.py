"""A real server process that is stopped for longer than its sessions live."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from raw_client import RawClient
from server_process import ServerProcess

from coordserver.core.model.operations import Op

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

STOPPED_S = 2.5
TIMEOUT_MS = 1_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "server", "--session-timeout-min-ms", "500")
    yield process
    process.kill()


async def test_a_stopped_server_expires_nobody_for_the_time_it_was_stopped(server: ServerProcess) -> None:
    server.start()
    address = f"127.0.0.1:{server.port}"
    sessions = [await RawClient.open(address, timeout_ms=TIMEOUT_MS) for _ in range(20)]
    for number, client in enumerate(sessions):
        assert (await client.create(f"/e{number}", mode=1)).error == 0
    os.kill(server.pid, signal.SIGSTOP)
    await trio.sleep(STOPPED_S)
    os.kill(server.pid, signal.SIGCONT)
    # Nobody said anything for more than twice the timeout; what is asked now is the first word.
    for number, client in enumerate(sessions):
        assert (await client.ask(Op.EXISTS, f"/e{number}", False)).error == 0
    watcher = await RawClient.open(address, timeout_ms=30_000)
    for client in sessions:
        await client.close()
    for number in range(20):
        while (await watcher.ask(Op.EXISTS, f"/e{number}", False)).error == 0:
            await trio.sleep(0.05)  # silence of its clients still ends a session
