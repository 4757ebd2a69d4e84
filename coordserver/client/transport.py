"""Bytes to a server and back: a TCP socket, or any trio stream.

`try_send` exists because a lone request is answered soonest when the task that makes it also hands it to the kernel; a
task switch to a writer costs about a tenth of the whole round trip on loopback.
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

RECEIVE_BYTES = 256 * 1024  # one read holds a few thousand replies; more would only be copied


class Transport(Protocol):
    """A connected byte stream."""

    def try_send(self, data: bytes) -> int:
        """Send what can be sent without waiting; returns how many bytes that were. Never raises."""

    async def send_all(self, data: bytes) -> None:
        """Send everything."""

    async def receive(self) -> bytes:
        """Some bytes; empty at the end."""

    async def close(self) -> None:
        """Close hard, at once."""


class Host(NamedTuple):
    """One server's address."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


Dial: TypeAlias = Callable[[Host], Awaitable[Transport]]


def parse_hosts(hosts: str, default_port: int = 2181) -> list[Host]:
    """`h1:2181,h2,[::1]:2182` as addresses. Raises ValueError naming the part that is wrong."""
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
    """A non-blocking TCP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def try_send(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except OSError:  # would block, or broken: the writer finds out which
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
    """Any trio stream: TLS, or memory in tests."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    def try_send(self, data: bytes) -> int:
        return 0

    async def send_all(self, data: bytes) -> None:
        with _told():
            await self._stream.send_all(data)

    async def receive(self) -> bytes:
        with _told():
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


async def dial_tcp(host: Host) -> Transport:
    """Connect. Raises OSError."""
    try:
        stream = await trio.open_tcp_stream(host.name, host.port)
    except OSError as error:
        raise OSError(_reason(error)) from error
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return SocketTransport(sock)


def dial_tls(new_context: Callable[[], ssl.SSLContext]) -> Dial:
    """A Dial that speaks TLS, with a new context each time, and raises OSError also where TLS fails."""

    async def dial(host: Host) -> Transport:
        try:
            context = new_context()
        except CredentialsError as error:  # the files were good when we began
            raise OSError(str(error)) from error
        try:
            tcp = await trio.open_tcp_stream(host.name, host.port)
        except OSError as error:
            raise OSError(_reason(error)) from error
        # A server that vanishes says no goodbye; the protocols inside have ends of their own to tell.
        stream = trio.SSLStream(tcp, context, server_hostname=host.name, https_compatible=True)
        shaken = False
        try:
            with _told():
                await stream.do_handshake()
            shaken = True
        finally:
            if not shaken:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await trio.aclose_forcefully(stream)
        return StreamTransport(stream)

    return dial


@contextmanager
def _told() -> Iterator[None]:
    """A broken stream's own reason, which trio keeps in the cause."""
    try:
        yield
    except trio.BrokenResourceError as error:
        raise OSError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """Why no address of a host could be reached, or why a stream broke: trio keeps that in the cause."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'the handshake failed').lower().replace('_', ' ')}"
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_reason(part) for part in error.exceptions))
    if error.__cause__ is not None:
        return _reason(error.__cause__)
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else str(error) or type(error).__name__
