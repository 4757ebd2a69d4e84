"""One connection from the server's welcome to its loss: it reads, writes and sends pings.

All queued requests leave in one send. All replies of one read are handled before another task runs. When the connection
is idle, the task that makes a request also sends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from coordserver.client.codec import Codec, Message
from coordserver.client.transport import Transport
from coordserver.core.model.errors import WireError

log = logging.getLogger(__name__)

# If the task wakes up this much too late, the process was stopped, and the silence does not mean a dead server.
_LATE_S = 0.5


class LinkLostError(Exception):
    """The connection is unusable. The text is the reason."""


class Link:
    """A connected transport with its codec. `timeout_s` is the session timeout in seconds.

    The client sends a ping after a third of the timeout without a send. It closes the connection after two thirds
    without a received byte.
    """

    def __init__(self, transport: Transport, codec: Codec, timeout_s: float) -> None:
        self.codec = codec
        self._transport = transport
        self._ping_every = timeout_s / 3
        self._silence = timeout_s * 2 / 3
        self._out = bytearray()
        self._sending = False
        self._wake = trio.Event()
        now = trio.current_time()
        self._received_at = now
        self._sent_at = now

    def put(self, data: bytes, *, at_once: bool) -> None:
        """Queue bytes for sending. With `at_once`, send them now if no other bytes are queued.

        `at_once` is faster for a single request.
        """
        if at_once and not self._out and not self._sending:
            self._sent_at = trio.current_time()
            data = data[self._transport.try_send(data) :]
            if not data:
                return
        self._out += data
        self._wake.set()

    async def run(self, handle: Callable[[Message], None], ping: Callable[[], None]) -> str:
        """Run the connection until it is lost. Returns the reason.

        `handle` receives each message, and may raise LinkLostError or WireError to end the connection. `ping` is called
        when a ping is due.
        """
        reasons = ["lost"]
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._keep_alive, ping)
                await self._read(handle)
        except* (LinkLostError, WireError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            reasons = [str(error) or type(error).__name__ for error in group.exceptions]
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._transport.close()
        return "; ".join(reasons)

    async def _read(self, handle: Callable[[Message], None]) -> None:
        receive = self._transport.receive
        decode = self.codec.receive
        while data := await receive():
            self._received_at = trio.current_time()
            for message in decode(data):
                handle(message)
        raise LinkLostError("the server closed the connection")

    async def _write(self) -> None:
        while True:
            if not self._out:
                self._sending = False
                self._wake = trio.Event()
                await self._wake.wait()
            self._sending = True
            data = bytes(self._out)
            self._out.clear()
            self._sent_at = trio.current_time()
            await self._transport.send_all(data)

    async def _keep_alive(self, ping: Callable[[], None]) -> None:
        while True:
            due = min(self._received_at + self._silence, self._sent_at + self._ping_every)
            await trio.sleep_until(due)
            now = trio.current_time()
            if now - due > _LATE_S:
                self._received_at = now  # count only time in which this process was running
            # Compute the same sums as in `due`; with other sums a rounding error could make this loop spin.
            if now >= self._received_at + self._silence:
                raise LinkLostError(f"the server was silent for {now - self._received_at:.1f} s")
            if now >= self._sent_at + self._ping_every:
                self._sent_at = now
                ping()
