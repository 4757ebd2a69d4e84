"""The polite client of a role's HTTP port, a process of its own: `python -m neighbour.polite_http PORT`.

It asks for `/status/health` every 5 ms, on a connection that it keeps and on a new one for each request. What is
refused or cut off is asked again, and counts as lost.
"""

from __future__ import annotations

import sys

import trio

from druidroles.lifeline import follow_parent
from neighbour.rhythm import recorded, ticks
from neighbour.speaking import say
from neighbour.waits import Waits

CLOSED = "closed without an answer"
_RETRY_S = 0.01
_REQUEST = b"GET /status/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: %s\r\n\r\n"


class Health:
    """One stream of requests."""

    def __init__(self, port: int, *, keep: bool) -> None:
        self._port = port
        self._keep = keep
        self._stream: trio.SocketStream | None = None

    async def ask(self, waits: Waits) -> None:
        """Ask for ever, each request until it has a good answer."""
        name = "kept connection" if self._keep else "new connection"
        async for _ in ticks(waits):
            waits.begin(name)
            while (fault := await self._fault()) is not None:
                waits.failures[fault] += 1
                await trio.sleep(_RETRY_S)
            waits.end(name, name)

    async def _fault(self) -> str | None:
        """Ask until there is an answer or a fault; what went wrong.

        A server may close a connection that it kept, after some time or so many requests. That is no fault.
        """
        stream, self._stream = self._stream, None
        if stream is not None:
            fault = await self._ask_on(stream)
            if fault != CLOSED:
                return fault
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        except OSError as error:
            return str(error)
        return await self._ask_on(stream)

    async def _ask_on(self, stream: trio.SocketStream) -> str | None:
        """Ask on one connection, and keep it if that is wanted and it is good; what went wrong."""
        try:
            await stream.send_all(_REQUEST % (b"keep-alive" if self._keep else b"close"))
            fault = await _fault_of_answer(stream)
        except trio.BrokenResourceError:
            fault = CLOSED
        if self._keep and fault is None:
            self._stream = stream
        else:
            await stream.aclose()
        return fault


async def _fault_of_answer(stream: trio.SocketStream) -> str | None:
    """Read head and body, whose length the head tells; what is wrong with them."""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head):
            status = head.split()[1]
            return None if status == b"200" else f"status {status.decode()}"
        more = await stream.receive_some(65_536)
        if not more:
            return f"closed after {len(data)} bytes" if data else CLOSED
        data += more


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("the answer does not tell its length")


async def main(port: int) -> None:
    """Say `ready`, measure, say what was measured."""
    say(event="ready")
    waits = await recorded([Health(port, keep=True).ask, Health(port, keep=False).ask])
    lost = waits.failures.total()
    say(event="waits", **waits.summary(), lost_sessions=lost, lost_connections=lost)


if __name__ == "__main__":
    follow_parent()
    trio.run(main, int(sys.argv[1]))
