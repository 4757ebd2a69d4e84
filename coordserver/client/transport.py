"""The transports that carry bytes to a server and back: a TCP socket, or any trio stream.

`try_send` shortens the round trip of a single request: the task that makes the request also passes it to the kernel. A
switch to a writer task would cost about a tenth of the round trip on loopback.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeAlias

import trio

from coordserver.client.errors import CredentialsError

RECEIVE_BYTES = 256 * 1024  # enough for a few thousand replies in one read; a larger buffer only adds copying


class Transport(Protocol):
    """A connected byte stream."""

    def try_send(self, data: bytes) -> int:
        """Send as many bytes as possible without waiting. Returns the number of bytes sent. Never raises."""

    async def send_all(self, data: bytes) -> None:
        """Send all bytes. Raises OSError, trio.BrokenResourceError or trio.ClosedResourceError."""

    async def receive(self) -> bytes:
        """Wait for bytes and return them. Returns no bytes at the end of the stream. Raises as `send_all`."""

    async def close(self) -> None:
        """Close the connection immediately, without a graceful shutdown."""


class Host(NamedTuple):
    """The address of a server."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


Dial: TypeAlias = Callable[[Host], Awaitable[Transport]]


def parse_hosts(hosts: str, default_port: int = 2181) -> list[Host]:
    """Parse a list of addresses such as `h1:2181,h2,[::1]:2182`. Raises ValueError, which names the invalid part."""
    found = []
    for part in hosts.split(","):
        text = part.strip()
        if text.startswith("["):
            name, bracket, rest = text[1:].partition("]")
            port = rest.removeprefix(":") if bracket and rest[:1] in ("", ":") else "-"
        else:
            name, _, port = text.partition(":")
        port = port or str(default_port)
        if not name or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"not HOST:PORT: {text!r}")
        found.append(Host(name, int(port)))
    return found


class SocketTransport:
    """A Transport over a non-blocking TCP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def try_send(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except OSError:  # it would block or is broken; the writer task finds out which
            return 0

    async def send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue

    async def close(self) -> None:
        if self._sock.fileno() != -1:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class StreamTransport:
    """A Transport over any trio stream: TLS, or a memory stream in tests."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    def try_send(self, data: bytes) -> int:
        return 0

    async def send_all(self, data: bytes) -> None:
        with _raise_cause():
            await self._stream.send_all(data)

    async def receive(self) -> bytes:
        with _raise_cause():
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


async def dial_tcp(host: Host) -> Transport:
    """Connect over TCP. Raises OSError."""
    try:
        stream = await trio.open_tcp_stream(host.name, host.port)
    except OSError as error:
        raise OSError(_describe_cause(error)) from error
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return SocketTransport(sock)


def dial_tls(new_context: Callable[[], ssl.SSLContext]) -> Dial:
    """Return a Dial that connects over TLS, with a new context for each connection.

    The Dial raises OSError, also if the TLS handshake fails.
    """

    async def dial(host: Host) -> Transport:
        try:
            context = new_context()
        except CredentialsError as error:  # the files were valid when the client started, so the caller retries
            raise OSError(str(error)) from error
        try:
            tcp = await trio.open_tcp_stream(host.name, host.port)
        except OSError as error:
            raise OSError(_describe_cause(error)) from error
        # `https_compatible` accepts an end of the TCP stream without a TLS close_notify. A crashed server sends none,
        # and the protocols inside of TLS mark their own end.
        stream = trio.SSLStream(tcp, context, server_hostname=host.name, https_compatible=True)
        established = False
        try:
            with _raise_cause():
                await stream.do_handshake()
            established = True
        finally:
            if not established:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await trio.aclose_forcefully(stream)
        return StreamTransport(stream)

    return dial


@contextmanager
def _raise_cause() -> Iterator[None]:
    """Convert a BrokenResourceError of the block to an OSError with the text of its cause."""
    try:
        yield
    except trio.BrokenResourceError as error:
        raise OSError(_describe_cause(error)) from error


def _describe_cause(error: BaseException) -> str:
    """Return the reason why a connection failed or broke. Trio stores it in the cause of the error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'the handshake failed').lower().replace('_', ' ')}"
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_describe_cause(part) for part in error.exceptions))
    if error.__cause__ is not None:
        return _describe_cause(error.__cause__)
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else str(error) or type(error).__name__
