"""TLS on the one port: kazoo with and without a certificate, all else that the port speaks, and hostile peers."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority, Identity
from cryptography import x509
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import CREATOR_ALL_ACL, make_acl
from kazoo_clients import WAIT_S, Clients, until
from server_process import ServerProcess

from coordserver.core.model.operations import Op
from coordserver.wire.native import client as native


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who the server and its clients trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def alice(authority: Authority) -> Identity:
    return authority.client("alice")


@pytest.fixture(scope="module")
def boss(authority: Authority) -> Identity:
    return authority.client("boss")


@contextlib.contextmanager
def serving(directory: Path, authority: Authority, certificate: Identity, *options: str) -> Iterator[ServerProcess]:
    """A server with TLS."""
    pem = str(certificate.pem)
    server = ServerProcess(directory, "--tls-cert", pem, "--tls-key", pem, "--tls-ca", str(authority.pem), *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def tls_server(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, boss: Identity
) -> Iterator[ServerProcess]:
    """It asks for certificates and takes connections without; `boss` is its super user."""
    options = ("--tls-client-auth", "want", "--super-x509", boss.subject)
    with serving(tmp_path_factory.mktemp("tls"), authority, authority.server(), *options) as server:
        yield server


@pytest.fixture
def tls(tls_server: ServerProcess) -> Iterator[Clients]:
    """Makes kazoo clients of it."""
    with Clients(tls_server.port) as clients:
        yield clients


def secure(clients: Clients, authority: Authority, identity: Identity | None = None) -> KazooClient:
    """A kazoo client over TLS."""
    pem = str(identity.pem) if identity else None
    return clients(use_ssl=True, ca=str(authority.pem), certfile=pem, keyfile=pem)


def dial(server: ServerProcess, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection that speaks nothing yet."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
    try:
        return context.wrap_socket(sock, server_hostname="127.0.0.1")
    except BaseException:
        sock.close()
        raise


def everything(sock: socket.socket) -> bytes:
    """All bytes until the peer closes; a reset is an end too."""
    found = b""
    try:
        while part := sock.recv(65536):
            found += part
    except (ssl.SSLError, ConnectionError):
        pass
    return found


# -- kazoo ------------------------------------------------------------------------------------------------------------


def test_kazoo_over_tls(tls: Clients, authority: Authority) -> None:
    client = secure(tls, authority)
    assert client.create("/plain-life", b"x") == "/plain-life"
    results = [client.create_async(f"/plain-life/{i}", b"y" * 1_000) for i in range(300)]
    assert len([result.get(timeout=WAIT_S) for result in results]) == 300
    assert len(client.get_children("/plain-life")) == 300
    client.create("/large", b"z" * 1_000_000)
    assert client.get("/large")[0] == b"z" * 1_000_000
    with client.Lock("/lock"):
        pass


def test_plain_and_tls_on_one_port(tls: Clients, authority: Authority) -> None:
    plain, encrypted = tls(), secure(tls, authority)
    seen: list[bytes] = []
    plain.create("/both", b"1")
    encrypted.DataWatch("/both", lambda value, stat: seen.append(value))
    plain.set("/both", b"2")
    until(lambda: seen and seen[-1] == b"2")


def test_a_certificate_is_an_identity(tls: Clients, authority: Authority, alice: Identity) -> None:
    shown, without = secure(tls, authority, alice), secure(tls, authority)
    assert alice.subject == r"CN=alice,OU=Tests,O=Ex\, Ample"
    shown.create("/named", b"a", acl=[make_acl("x509", alice.subject, all=True)])
    shown.create("/creator", b"c", acl=CREATOR_ALL_ACL)
    assert shown.get("/named")[0] == b"a"
    assert shown.get_acls("/creator")[0] == [make_acl("x509", alice.subject, all=True)]
    for stranger in (without, tls(), secure(tls, authority, authority.client("bob"))):
        for path in ("/named", "/creator"):
            with pytest.raises(NoAuthError):
                stranger.get(path)


def test_the_super_users_certificate(tls: Clients, authority: Authority, boss: Identity) -> None:
    tls().create("/nobodys", b"n", acl=[make_acl("digest", "who:knows", all=True)])
    assert secure(tls, authority, boss).get("/nobodys")[0] == b"n"


def test_a_client_that_trusts_another_authority(tls_server: ServerProcess, tls: Clients, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        dial(tls_server, Authority(tmp_path / "other").context())
    assert tls().exists("/") is not None


# -- certificates that are refused, and certificates that change -----------------------------------------------------


def test_a_foreign_certificate_is_refused(
    tls_server: ServerProcess, authority: Authority, tmp_path: Path, tls: Clients
) -> None:
    context = authority.context(Authority(tmp_path / "other").client("mallory"))
    with contextlib.suppress(ssl.SSLError, ConnectionError), dial(tls_server, context) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"ruok")
        assert everything(sock) == b""
    assert secure(tls, authority).exists("/") is not None


def test_a_certificate_may_be_needed(tmp_path: Path, authority: Authority, alice: Identity) -> None:
    with serving(tmp_path / "s", authority, authority.server(), "--tls-client-auth", "need") as server:
        with contextlib.suppress(ssl.SSLError, ConnectionError), dial(server, authority.context()) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"ruok")
            assert everything(sock) == b""
        with dial(server, authority.context(alice)) as sock:
            sock.sendall(b"ruok")
            assert everything(sock) == b"imok"


def shown_serial(server: ServerProcess, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that the server shows."""
    with dial(server, context) as sock:
        shown = sock.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_certificates_are_read_again(tmp_path: Path, authority: Authority) -> None:
    first = authority.server("changing")
    with serving(tmp_path / "s", authority, first) as server, Clients(server.port) as clients:
        context = authority.context()
        assert shown_serial(server, context) == first.serial
        old = secure(clients, authority)
        session = old.client_id
        second = authority.server("changing")
        until(lambda: shown_serial(server, context) == second.serial, "the new certificate is not shown")
        assert old.create("/still", b"") == "/still"
        assert old.client_id == session, "the change cost a connection"
        second.pem.write_text("half a certifi")
        secure(clients, authority).create("/meanwhile")
        third = authority.server("changing")
        until(lambda: shown_serial(server, context) == third.serial, "a bad file stopped the reading")


# -- what else the port speaks, inside ---------------------------------------------------------------------------------


def test_four_letter_words_and_http_inside_tls(tls_server: ServerProcess, authority: Authority) -> None:
    for asked, wanted in (
        (b"ruok", b"imok"),
        (b"srvr", b"Mode: standalone"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b" 200 "),
    ):
        with dial(tls_server, authority.context()) as sock:
            sock.sendall(asked)
            assert wanted in everything(sock)


def test_the_native_protocol_inside_tls(tls_server: ServerProcess, authority: Authority, alice: Identity) -> None:
    decoder, messages = native.NativeDecoder(), []
    with dial(tls_server, authority.context(alice)) as sock:
        sock.sendall(native.encode_hello(timeout_ms=10_000))
        sock.sendall(
            native.encode_request(1, Op.CREATE, 1, ("/native", b"n" * 500_000, [(31, "auth", "")], 0, 0))
            + native.encode_request(2, Op.GET_DATA, 1, ("/native", False))
            + native.encode_request(3, Op.WHO_AM_I, 1, ())
            + native.encode_request(4, Op.CLOSE_SESSION, 1, ())
        )
        while data := sock.recv(65536):
            messages += decoder.feed(data)
    hello, created, got, who, closed = messages
    assert (hello.error, created.error, got.error, closed.error) == (0, 0, 0, 0)
    assert native.decode_result(Op.GET_DATA, got.fields)[0] == b"n" * 500_000
    assert ("x509", alice.subject) in native.decode_result(Op.WHO_AM_I, who.fields)[0]


def test_tls_inside_tls_is_closed(tls_server: ServerProcess, authority: Authority) -> None:
    with dial(tls_server, authority.context()) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01" + bytes(511))
        assert everything(sock) == b""


# -- hostile peers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"\x16" + os.urandom(300),
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x16\x03\x01\x00\x00" * 200,
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
    ids=["random", "short", "long", "empty", "alert"],
)
def test_garbage_instead_of_a_handshake(
    tls_server: ServerProcess, tls: Clients, authority: Authority, said: bytes
) -> None:
    bystander = secure(tls, authority)
    with socket.create_connection(("127.0.0.1", tls_server.port), timeout=WAIT_S) as sock:
        with contextlib.suppress(OSError):  # the server may have closed before all was said
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
        assert len(everything(sock)) <= 64, "more than an alert was said"
    assert bystander.exists("/") is not None


def test_garbage_after_the_handshake(tls_server: ServerProcess, tls: Clients, authority: Authority) -> None:
    bystander = secure(tls, authority)
    with dial(tls_server, authority.context()) as sock:
        raw = socket.socket(fileno=os.dup(sock.fileno()))
        with raw:
            raw.settimeout(WAIT_S)
            raw.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
            everything(raw)
    assert bystander.exists("/") is not None


def test_a_handshake_that_does_not_end_is_on_a_deadline(tmp_path: Path, authority: Authority) -> None:
    with (
        serving(tmp_path / "s", authority, authority.server(), "--handshake-ms", "200") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as sock,
    ):
        sock.sendall(b"\x16\x03\x01")
        assert everything(sock) == b""
