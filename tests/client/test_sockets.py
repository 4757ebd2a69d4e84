"""The client on a whole server: real sockets, a real log, the real clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from coordserver.client import Client, ConnectError, NodeExistsError, SessionState, WatchKind, connect
from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / "server"
    path.mkdir()
    return path


async def test_the_basics(data_dir: Path) -> None:
    async with embedded_server(data_dir) as server, connect(server.address, session_timeout=4) as zk:
        async with zk.watch("/", recursive=True) as events:
            assert (await zk.create("/a/b", b"1", makepath=True, ephemeral=True)).path == "/a/b"
            with pytest.raises(NodeExistsError):
                await zk.create("/a")
            assert [(event.kind, event.path) for event in await events.next_batch()][:1] == [(WatchKind.CREATED, "/a")]
        assert (await zk.get("/a/b")).data == b"1"
        big = b"x" * 1_000_000
        await zk.set("/a/b", big)
        assert (await zk.get("/a/b")).data == big
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(zk.get, "/a")
                nursery.start_soon(zk.set, "/a", b"")
        assert (await zk.get("/a")).stat.version == 500


async def _serve(
    data_dir: Path, port: int, leave: trio.Event, task_status: trio.TaskStatus[ServerHandle] = trio.TASK_STATUS_IGNORED
) -> None:
    async with embedded_server(data_dir, port=port) as handle:
        task_status.started(handle)
        await leave.wait()


async def test_a_restart_on_the_same_data_keeps_session_ephemerals_and_watches(
    data_dir: Path, nursery: trio.Nursery
) -> None:
    leave_first, leave_second = trio.Event(), trio.Event()
    async with trio.open_nursery() as first:
        server: ServerHandle = await first.start(_serve, data_dir, 0, leave_first)
        zk = await nursery.start(_hold_client, server.address)
        await zk.create("/here", b"1", ephemeral=True)
        before = zk.session_id
        watching = await nursery.start(_collect, zk, 2)
        await zk.create("/before")
        leave_first.set()
    assert zk.state is not SessionState.CONNECTED
    pending = await nursery.start(_create, zk, "/pending")
    await nursery.start(_serve, data_dir, server.addresses[0].port, leave_second)
    with trio.fail_after(20):
        await pending.wait()
        stat = await zk.exists("/here")
        assert stat is not None
        assert stat.ephemeral_owner == zk.session_id == before
        assert await watching() == ["/before", "/pending"]
    nursery.cancel_scope.cancel()


async def _hold_client(address: str, task_status: trio.TaskStatus[Client]) -> None:
    async with connect(address, session_timeout=10) as zk:
        task_status.started(zk)
        await trio.sleep_forever()


async def _create(zk: Client, path: str, task_status: trio.TaskStatus[trio.Event]) -> None:
    done = trio.Event()
    task_status.started(done)
    await zk.create(path)
    done.set()


async def _collect(zk: Client, count: int, task_status: trio.TaskStatus[Callable[[], Awaitable[list[str]]]]) -> None:
    """Watch everything; what is handed out waits for so many events and tells their paths."""
    send, receive = trio.open_memory_channel[str](count)

    async def paths() -> list[str]:
        return [await receive.receive() for _ in range(count)]

    async with zk.watch("/", recursive=True) as events, send:
        task_status.started(paths)
        async for event in events:
            await send.send(event.path)


async def test_nobody_listens_there() -> None:
    with pytest.raises(ConnectError, match="Connection refused"):
        async with connect("127.0.0.1:1", connect_within=0.3):
            pass
