"""A connection to a server without a client's help: bytes out, messages in."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import trio

from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.core.model.operations import Op
from coordserver.server.clock import Clock
from coordserver.server.serve import ServerHandle, serve
from coordserver.wire.native import client as wire

_dialled: list[trio.socket.SocketType] = []
ANY_PORT = Address("127.0.0.1", 0)
SMALL: dict[str, Any] = {"listen": (ANY_PORT,), "tick_time_ms": 500, "segment_bytes": 1024 * 1024}


@asynccontextmanager
async def running(data_dir: Path, *, clock: Clock | None = None, **settings: Any) -> AsyncIterator[ServerHandle]:
    """A server with these settings, stopped gracefully at the end; raw clients dialled meanwhile are closed then."""
    config = ServerConfig(**{**SMALL, **settings}, data_dir=data_dir)

    async def run(*, task_status: trio.TaskStatus[ServerHandle]) -> None:  # noqa: ASYNC128 - serve says it
        await serve(config, clock=clock, task_status=task_status)

    async with trio.open_nursery() as nursery:
        handle: ServerHandle = await nursery.start(run)
        try:
            yield handle
        finally:
            while _dialled:
                _dialled.pop().close()
            handle.stop()


class RawClient:
    """One native connection. `number` is that of the last request; replies are read in order, events set aside."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.number = 0
        self.events: list[wire.Events] = []
        self.hello: wire.ServerHello
        self._decoder = wire.NativeDecoder()
        self._messages: list[wire.Incoming] = []

    @classmethod
    async def dial(cls, address: str, *, receive_buffer: int = 0) -> Self:
        """Only the socket."""
        host, port = address.rsplit(":", 1)
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        _dialled.append(sock)
        await sock.connect((host, int(port)))
        return cls(trio.SocketStream(sock))

    @classmethod
    async def open(cls, address: str, *, receive_buffer: int = 0, **hello: Any) -> Self:
        """Socket and handshake."""
        client = await cls.dial(address, receive_buffer=receive_buffer)
        await client.greet(**hello)
        return client

    async def greet(self, **hello: Any) -> wire.ServerHello:
        """The handshake."""
        await self.stream.send_all(wire.encode_hello(**{"timeout_ms": 10_000, **hello}))
        message = await self.message()
        assert isinstance(message, wire.ServerHello)
        self.hello = message
        self.number = message.last_number
        return message

    def encode(self, op: Op, *arguments: Any, acked: int = 1) -> bytes:
        """The next request."""
        self.number += 1
        return wire.encode_request(self.number, op, acked, arguments)

    async def send(self, op: Op, *arguments: Any, acked: int = 1) -> int:
        """Send one request; its number."""
        await self.stream.send_all(self.encode(op, *arguments, acked=acked))
        return self.number

    async def ask(self, op: Op, *arguments: Any) -> wire.Reply:
        """Send one request and read its reply. Everything before counts as seen."""
        number = await self.send(op, *arguments, acked=self.number + 1)
        reply = await self.reply()
        assert reply.number == number
        return reply

    async def create(self, path: str, data: bytes = b"", mode: int = 0) -> wire.Reply:
        """A create, answered."""
        return await self.ask(Op.CREATE, path, data, None, mode, 0)

    async def reply(self) -> wire.Reply:
        """The next reply; events on the way are set aside."""
        while True:
            message = await self.message()
            if isinstance(message, wire.Events):
                self.events.append(message)
            else:
                assert isinstance(message, wire.Reply), message
                return message

    async def replies(self, count: int) -> list[tuple[int, int]]:
        """(number, error) of the next replies."""
        found = [await self.reply() for _ in range(count)]
        return [(reply.number, reply.error) for reply in found]

    async def message(self) -> wire.Incoming:
        """The next message. Raises EOFError at the end of the connection."""
        while not self._messages:
            data = await self._receive()
            if not data:
                raise EOFError
            self._messages = self._decoder.feed(data)
        return self._messages.pop(0)

    async def rest(self) -> Sequence[wire.Incoming]:
        """Everything up to the end of the connection."""
        found: list[wire.Incoming] = []
        try:
            while True:
                found.append(await self.message())
        except EOFError:
            return found

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(65_536))
        except trio.BrokenResourceError:
            return b""

    async def close(self) -> None:
        """Close the socket, not the session."""
        await self.stream.aclose()


async def exchange(address: str, data: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    client = await RawClient.dial(address)
    await client.stream.send_all(data)
    answer = b""
    while part := await client._receive():
        answer += part
    await client.close()
    return answer
