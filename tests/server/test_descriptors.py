"""Descriptors: the log, snapshots and administrators have some, whatever connects."""

from __future__ import annotations

import errno
import logging
import socket
from pathlib import Path

import pytest
import trio
from raw_client import ANY_PORT, RawClient, exchange, running

from coordserver.server import descriptors, listener
from coordserver.server.descriptors import RESERVED, Descriptors
from coordserver.server.serve import SPARE_CONNECTIONS


@pytest.mark.parametrize(
    ("limit", "wanted", "found"), [(1_000, 100, 100), (1_000, 20_000, 1_000 - RESERVED - 20), (40, 100, 1)]
)
def test_there_are_as_many_connections_as_the_limit_leaves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int, wanted: int, found: int
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(descriptors, "open_files", lambda: 20)
    assert Descriptors(limit).connections(wanted) == found
    lines = [record.getMessage() for record in caplog.records]
    told = f"max_connections is lowered from {wanted} to {found}: open files are limited to {limit}"
    assert lines == ([told] if found < wanted else [])


def test_the_last_descriptors_are_not_for_connections() -> None:
    """Whoever else in the process has taken them: the kernel gives out the lowest that is free."""
    kept = Descriptors(1_000)
    assert kept.leaves_enough(900)
    assert not kept.leaves_enough(1_000 - RESERVED // 2)


async def test_a_connection_that_leaves_too_few_descriptors_is_closed_and_accepting_goes_on() -> None:
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        room = iter([True, False, True])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                listener.accept, listening, lambda sock, peer: taken.append(sock), lambda host, fd: next(room)
            )
            streams = [await trio.open_tcp_stream(*listening.getsockname()) for _ in range(3)]
            while len(taken) < 2:
                await trio.testing.wait_all_tasks_blocked()
            assert await streams[1].receive_some(1) == b""
            nursery.cancel_scope.cancel()
        for stream in streams:
            await stream.aclose()
    for sock in taken:
        sock.close()


class Exhausted:
    """A listening socket where no descriptor is left."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.tries = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> None:
        self.tries += 1
        raise OSError(errno.EMFILE, "Too many open files")


async def test_accepting_without_a_descriptor_left_does_not_spin(autojump_clock: trio.testing.MockClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        exhausted = Exhausted(listening)
        with trio.move_on_after(1.0001):
            await listener.accept(exhausted, lambda sock, peer: None, lambda host, fd: True)  # type: ignore[arg-type]
        assert exhausted.tries == pytest.approx(1 / listener.EXHAUSTED_PAUSE_S, abs=1)


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_a_full_server_can_still_be_asked_at_its_admin_port(tmp_path: Path, limit: str) -> None:
    async with running(tmp_path / "data", admin_listen=(ANY_PORT,), **{limit: 3}) as server:
        client_address, admin_address = (str(address) for address in server.addresses)
        clients = [await RawClient.open(client_address) for _ in range(3)]
        refused = await RawClient.dial(client_address)
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await refused.greet()
        told = [await exchange(admin_address, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(5)]
        assert {answer.split(b"\r\n")[0] for answer in told} == {b"HTTP/1.1 200 OK"}
        idle = [await RawClient.dial(admin_address) for _ in range(SPARE_CONNECTIONS + 1)]
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await idle[-1].message()
        assert (await clients[0].create("/n")).error == 0


async def test_connections_that_find_no_room_are_told_in_one_line_a_second(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.setblocking(False)
        rejected: list[str] = []

        def room(host: str, descriptor: int) -> bool:
            rejected.append(host)
            return False

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.accept, listening, lambda sock, peer: None, room)
            for count in (20, 40):
                for _ in range(20):
                    socket.create_connection(listening.getsockname()).close()
                while len(rejected) < count:
                    await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(listener.TELL_EVERY_S)
            nursery.cancel_scope.cancel()
    assert caplog.messages == [
        f"too many connections: {count} closed at once, the last of 127.0.0.1" for count in (1, 20)
    ]
