"""A snapshot of a running server, asked for over its admin commands: taken now, exact at one zxid."""

from __future__ import annotations

import http.client
import os
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.access import Access
from cli.running import CommandFailedError
from coordserver.config.address import Address

PATH = "/commands/snapshot?streaming=true"
TIMEOUT_S = 120.0
CHUNK_BYTES = 1 << 20
_FAULT_BYTES = 4096


def download(server: Address, access: Access, file: Path) -> None:
    """Write the server's snapshot into `file`; it is not checked. Raises CommandFailedError."""
    connection = _connection(server, access)
    try:
        connection.putrequest("GET", PATH)
        connection.putheader("Authorization", _authorization(access))
        connection.endheaders()
        response = connection.getresponse()
        if response.status != http.client.OK or response.headers.get_content_type() != "application/octet-stream":
            raise CommandFailedError(f"{server}: {_fault(response)}")
        _save(response, file)
    except (OSError, http.client.HTTPException) as fault:  # a certificate that is not trusted is a ValueError, too
        raise CommandFailedError(f"{server}: {_text(fault)}") from None
    except ValueError:
        raise CommandFailedError("the credentials cannot be sent over HTTP: they hold a line break") from None
    finally:
        connection.close()


def _connection(server: Address, access: Access) -> http.client.HTTPConnection:
    if access.tls is None:
        return http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)
    context = access.tls.context()
    return http.client.HTTPSConnection(server.host, server.port, timeout=TIMEOUT_S, context=context)


def _authorization(access: Access) -> bytes:
    """What is shown. Where the root is open to everybody any identity will do, and one is drawn: that there is one at
    all proves that no browser was tricked into asking.
    """
    for scheme, auth in access.auth:
        return scheme.encode() + b" " + auth
    if access.tls is not None and access.tls.cert is not None:
        return b"x509"
    return b"digest anybody:" + secrets.token_hex(8).encode()


def _fault(response: http.client.HTTPResponse) -> str:
    body = response.read(_FAULT_BYTES).decode("utf-8", "replace")
    _, found, rest = body.partition('"error" : "')
    return rest.partition('"')[0] if found else f"{response.status} {response.reason}"


def _save(response: http.client.HTTPResponse, file: Path) -> None:
    """All of the body, synced."""
    with file.open("wb") as out, _faults_of(file):
        while part := _read(response):
            out.write(part)
        out.flush()
        os.fsync(out.fileno())


def _read(response: http.client.HTTPResponse) -> bytes:
    """More of the body. What is wrong with the connection is not said of the file."""
    try:
        return response.read(CHUNK_BYTES)
    except OSError as fault:
        raise http.client.HTTPException(_text(fault)) from None


@contextmanager
def _faults_of(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise CommandFailedError(f"{file}: {_text(fault)}") from None


def _text(fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError):
        return fault.reason or str(fault)
    return (fault.strerror if isinstance(fault, OSError) else None) or str(fault) or type(fault).__name__
