"""TLS, credentials and a default ACL: what a client shows a server, on every connection it makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from unittest.mock import ANY

import pytest
import trio
from authority import Authority
from memory_server import OVER_NATIVE, MemoryServer, until
from trio.testing import MockClock

from coordserver.client import (
    CREATOR_ALL_ACL,
    Auth,
    AuthFailedError,
    ConnectError,
    CredentialsError,
    SessionState,
    Tls,
    TransactionFailedError,
    WatchKind,
    connect,
)
from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.core.model.errors import AuthRequiredError, NoAuthError
from coordserver.server.serve import ServerHandle, serve

ALICE = ("digest", b"alice:secret")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


async def _serve(
    tmp_path: Path, authority: Authority, pem: Path, nursery: trio.Nursery, client_auth: str = "none"
) -> ServerHandle:
    (tmp_path / "data").mkdir()
    config = ServerConfig(
        data_dir=tmp_path / "data",
        listen=(Address("127.0.0.1", 0),),
        tls_cert=pem,
        tls_key=pem,
        tls_ca=authority.pem,
        tls_client_auth=client_auth,
    )
    handle: ServerHandle = await nursery.start(partial(serve, config))
    return handle


@pytest.fixture
async def tls_server(tmp_path: Path, authority: Authority, nursery: trio.Nursery) -> AsyncIterator[ServerHandle]:
    """A server that demands certificates of its clients."""
    handle = await _serve(tmp_path, authority, authority.server().pem, nursery, "need")
    yield handle
    handle.stop()


@pytest.mark.parametrize("scheme", ["coord", "zk"])
async def test_tls_with_a_certificate_of_ones_own(tls_server: ServerHandle, authority: Authority, scheme: str) -> None:
    alice = authority.client("alice")
    hosts = f"{scheme}://{tls_server.address}"
    async with connect(hosts, tls=Tls(ca=authority.pem, cert=alice.pem), session_timeout=4) as zk:
        await zk.create("/mine", b"x" * 500_000, acl=CREATOR_ALL_ACL)
        assert len((await zk.get("/mine")).data) == 500_000
        acl, _ = await zk.get_acl("/mine")
        assert [(entry.scheme, entry.id) for entry in acl] == [("x509", alice.subject)]
    async with connect(hosts, tls=Tls(ca=authority.pem, cert=authority.client("bob").pem)) as zk:
        with pytest.raises(NoAuthError):
            await zk.get("/mine")


async def test_a_tls_server_that_cannot_be_trusted_or_does_not_trust_us(
    tls_server: ServerHandle, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    for tls, why in (
        (Tls(ca=stranger.pem, cert=authority.client("alice").pem), "TLS: .*certificate"),
        (Tls(ca=authority.pem), "TLS|closed"),
        (Tls(ca=authority.pem, cert=stranger.client("alice").pem), "TLS|closed"),
    ):
        with pytest.raises(ConnectError, match=why):
            async with connect(tls_server.address, tls=tls, connect_within=0.7):
                pass


async def test_a_certificate_of_another_host(tmp_path: Path, authority: Authority, nursery: trio.Nursery) -> None:
    handle = await _serve(tmp_path, authority, authority.client("another.host").pem, nursery)
    with pytest.raises(ConnectError, match=r"TLS: .*127\.0\.0\.1"):
        async with connect(handle.address, tls=Tls(ca=authority.pem), connect_within=0.7):
            pass
    async with connect(handle.address, tls=Tls(ca=authority.pem, check_hostname=False)) as zk:
        await zk.create("/whoever")
    handle.stop()


async def test_files_that_are_no_certificates_are_named_at_once(authority: Authority, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    for tls, what in (
        (Tls(ca=tmp_path / "no.pem"), "no.pem: No such file"),
        (Tls(ca=garbage), "garbage.pem"),
        (Tls(cert=garbage), "garbage.pem"),
        (Tls(cert=authority.pem), "ca.pem"),
        (Tls(key=garbage), "garbage.pem, without a certificate"),
    ):
        with pytest.raises(CredentialsError, match=what):
            async with connect("127.0.0.1:1", tls=tls):
                pass


def test_credentials_as_text() -> None:
    assert Auth.parse("digest:alice:se:cret\n") == ("digest", b"alice:se:cret")
    assert "secret" not in repr(Auth.parse("digest:alice:secret"))
    for wrong in ("", "digest", "digest:", "digest:alice", "digest::secret", ":alice:secret"):
        with pytest.raises(ValueError, match="credentials") as caught:
            Auth.parse(wrong)
        assert "secret" not in str(caught.value)


@OVER_NATIVE
async def test_credentials_come_first_on_every_connection(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with (
        server.connect(auth=[ALICE], default_acl=CREATOR_ALL_ACL) as zk,
        server.connect() as other,
        zk.watch("/mine") as events,
    ):
        await zk.create("/mine", b"1")
        await zk.transaction().create("/mine/too").commit()
        for path in ("/mine", "/mine/too"):
            with pytest.raises(NoAuthError):
                await other.get(path)
        assert await anext(events) == (WatchKind.CREATED, "/mine", ANY)
        assert await anext(events) == (WatchKind.CHILDREN, "/mine", ANY)
        async with trio.open_nursery() as nursery:
            server.up = False
            server.cut()
            await until(zk, SessionState.SUSPENDED)
            for number in range(20):  # they queue while there is no connection, and leave behind the credentials
                nursery.start_soon(zk.set, "/mine", str(number).encode())
            server.up = True
        assert {event.kind for event in await events.next_batch()} == {WatchKind.CHANGED}
        assert (await zk.get("/mine")).stat.version == 20


@OVER_NATIVE
async def test_credentials_added_later_are_shown_again_too(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect(auth=[ALICE], default_acl=CREATOR_ALL_ACL) as zk, server.connect() as other:
        await zk.create("/mine")
        with pytest.raises(TransactionFailedError, match="NoAuth"):
            await other.transaction().set("/mine", b"1").commit()
        await other.add_auth(*ALICE)
        await other.set("/mine", b"1")
        server.cut()
        await other.set("/mine", b"2")
        with pytest.raises(AuthFailedError):
            await other.add_auth("telepathy", b"trust me")
        server.cut()
        assert (await other.get("/mine")).data == b"2"


async def test_a_server_that_refuses_the_credentials_ends_the_client(
    autojump_clock: MockClock, server: MemoryServer
) -> None:
    async with server.connect(auth=[("telepathy", b"trust me")]) as zk:
        with pytest.raises(AuthFailedError):
            await zk.get("/")
        await until(zk, SessionState.CLOSED)
        with pytest.raises(AuthFailedError):
            await zk.create("/anything")
    assert len(server.dialled) == 1


@OVER_NATIVE
async def test_more_identities_than_a_connection_may_have(autojump_clock: MockClock, server: MemoryServer) -> None:
    async with server.connect() as zk:
        for number in range(64):
            await zk.add_auth("digest", b"user%d:x" % number)
        with pytest.raises(Exception, match="at most 64 identities"):
            await zk.add_auth("digest", b"one:too many")
        await zk.create("/still")


async def test_a_server_that_wants_proof_before_anything_else(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """Over its own protocol it says so, and the session lives on: proof may still come."""
    server: MemoryServer = await nursery.start(MemoryServer(enforced=["digest"]).run)
    async with server.connect(auth=[ALICE]) as zk, server.connect() as other:
        await zk.create("/asked", b"1")
        with pytest.raises(AuthRequiredError):
            await other.get("/asked")
        await trio.sleep(60)
        await other.add_auth("digest", b"bob:secret")
        assert (await other.get("/asked")).data == b"1"
        server.peers[0].cut()
        server.peers[1].cut()
        await zk.set("/asked", b"2")
        assert (await other.get("/asked")).data == b"2"


async def test_a_zookeeper_that_wants_proof_before_anything_else(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Over ZooKeeper's protocol credentials come first too, on each connection."""
    server: MemoryServer = await nursery.start(MemoryServer(zookeeper=True, enforced=["digest"]).run)
    async with server.connect(auth=[ALICE]) as zk:
        await zk.create("/asked", b"1")
        server.peers[0].cut()
        assert (await zk.get("/asked")).data == b"1"
