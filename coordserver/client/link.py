"""One connection, from the server's welcome to its loss: read, write, keep alive.

Many requests queued at once leave in one send; many replies of one read are handled before anything else runs. A
request that finds the connection idle is sent by the task that makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from coordserver.client.codec import Codec, Message
from coordserver.client.transport import Transport
from coordserver.core.errors import WireError

log = logging.getLogger(__name__)

_LATE_S = 0.5  # a wake-up this late means that we were stopped, not that the server was silent


class LinkLostError(Exception):
    """The connection is of no use any more; the text says why."""


class Link:
    """A connected transport and its codec. `timeout_s` is the session's."""

    def __init__(self, transport: Transport, codec: Codec, timeout_s: float) -> None:
        self.codec = codec
        self._transport = transport
        self._ping_every = timeout_s / 3
        self._silence = timeout_s * 2 / 3
        self._out = bytearray()
        self._sending = False
        self._wake = trio.Event()
        now = trio.current_time()
        self._heard_at = now
        self._sent_at = now

    def put(self, data: bytes, *, at_once: bool) -> None:
        """Queue bytes, or send them `at_once` where nothing is queued: right for a request that is alone."""
        if at_once and not self._out and not self._sending:
            self._sent_at = trio.current_time()
            data = data[self._transport.try_send(data) :]
            if not data:
                return
        self._out += data
        self._wake.set()

    async def run(self, handle: Callable[[Message], None], ping: Callable[[], None]) -> str:
        """Serve until the connection is lost; returns why. `handle` may raise LinkLostError or WireError to end it."""
        why = ["lost"]
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._keep_alive, ping)
                await self._read(handle)
        except* (LinkLostError, WireError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            why = [str(error) or type(error).__name__ for error in group.exceptions]
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._transport.close()
        return "; ".join(why)

    async def _read(self, handle: Callable[[Message], None]) -> None:
        receive = self._transport.receive
        decode = self.codec.receive
        while data := await receive():
            self._heard_at = trio.current_time()
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
            due = min(self._heard_at + self._silence, self._sent_at + self._ping_every)
            await trio.sleep_until(due)
            now = trio.current_time()
            if now - due > _LATE_S:
                self._heard_at = now  # judge the server only by time in which we listened
            if now >= self._heard_at + self._silence:  # the very sums that were slept for, or rounding could spin here
                raise LinkLostError(f"the server was silent for {now - self._heard_at:.1f} s")
            if now >= self._sent_at + self._ping_every:
                self._sent_at = now
                ping()
