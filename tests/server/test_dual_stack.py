"""`[::]` serves IPv4 too, whose clients are known by their IPv4 addresses."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from raw_client import RawClient, running

from coordserver.config.address import Address
from coordserver.core.model.operations import Op
from coordserver.server import listener
from coordserver.server.serve import ServerHandle

EVERYWHERE = Address("::", 0)


def has_ipv6() -> bool:
    """Whether loopback has an IPv6 address."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@asynccontextmanager
async def opened(host: str, server: ServerHandle) -> AsyncIterator[RawClient]:
    """A session over this address of the server."""
    async with await trio.open_tcp_stream(host, server.addresses[0].port) as stream:
        client = RawClient(stream)
        await client.greet()
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_every_address_is_of_either_kind(tmp_path: Path, host: str) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("no IPv6 here")
    async with running(tmp_path / "data", listen=(EVERYWHERE,)) as server, opened(host, server) as client:
        assert (await client.ask(Op.WHO_AM_I)).fields[0] == (("ip", host),)


async def test_connections_of_an_ipv4_address_are_counted_as_its_own(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "data", listen=(EVERYWHERE,), max_connections_per_address=1) as server,
        opened("127.0.0.1", server),
        await trio.open_tcp_stream("127.0.0.1", server.addresses[0].port) as second,
    ):
        assert await second.receive_some() == b""


async def test_one_ipv6_address_is_of_ipv6_alone(tmp_path: Path) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    async with running(tmp_path / "data", listen=(Address("::1", 0),)) as server:
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", server.addresses[0].port)


def test_a_system_without_ipv6_gives_every_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket.socket

    def without(family: int = -1, *arguments: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return made(family, *arguments)

    monkeypatch.setattr(listener.socket, "socket", without)
    [sock] = listener.bind((EVERYWHERE,), 1)
    try:
        assert listener.bound_address(sock).host == "0.0.0.0"
        with pytest.raises(listener.ListenError, match=r"cannot listen on \[::1\]:0: Address family"):
            listener.bind((Address("::1", 0),), 1)
    finally:
        sock.close()


@pytest.mark.parametrize(
    ("host", "written"),
    [("::ffff:10.1.2.3", "10.1.2.3"), ("10.1.2.3", "10.1.2.3"), ("::1", "::1"), ("::ffff:1:2", "::ffff:1:2")],
)
def test_how_a_peer_is_written(host: str, written: str) -> None:
    assert listener.peer_host(host) == written
