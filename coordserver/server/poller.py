"""All plain sockets in one task.

An epoll descriptor is itself readable when it has something to report, so one trio task waits for all sockets by
waiting for theirs: a task per connection costs a scheduling round per request, three times the rate at fifty
connections. Every wake-up handles all complete frames of what can be read, then starts the log, then sends once per
connection.

Epoll is level-triggered and puts what it reported at the end of its list, so stopping in the middle of a sweep is
fair. A sweep stops after `BUDGET_S` and lets other tasks run. Work that is left over (frames held back until a peer
has read its answers) is remembered and the poller nudges itself through an eventfd.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio

from coordserver.config.address import Address
from coordserver.core.errors import WireError
from coordserver.server.channel import Channel
from coordserver.server.clock import Clock
from coordserver.server.inflow import Inflow
from coordserver.wire.output import Output
from coordserver.wire.port import EVERYTHING, PortConnection
from coordserver.wire.sniff import Speech

_log = logging.getLogger(__name__)

READ_BYTES = 65_536
_IN = select.EPOLLIN
BUDGET_S = 0.004
LINGER_S = 0.001
"""How long a sweep waits for what is about to come; sockets are heard meanwhile, other tasks are not."""
_REPORTS = 256


class Poller:
    """Owns every accepted socket. All methods run in the trio thread; none blocks, but a sweep for up to `LINGER_S`.

    `connect` makes what speaks on a new socket of a host, given what may be spoken there. `handled` is called
    after requests were handled, before anything is sent; `idle` when there is nothing to read: whether something is
    about to come all the same, for which a round of the scheduler would cost more than the wait.
    """

    def __init__(
        self,
        connect: Callable[[Output, str, frozenset[Speech]], PortConnection],
        handled: Callable[[], None],
        idle: Callable[[], bool],
        clock: Clock,
        inflow: Inflow,
        *,
        output_soft: int,
        output_hard: int,
    ) -> None:
        self._connect = connect
        self._handled = handled
        self._idle = idle
        self._clock = clock
        self.inflow = inflow
        self._soft = output_soft
        self._hard = output_hard
        self._epoll = select.epoll()
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._attended: dict[int, Callable[[], None]] = {}
        self.attend(self._nudge, self._nudged)
        self._channels: dict[int, Channel] = {}
        self._dirty: list[Channel] = []
        self._resumable: deque[Channel] = deque()
        self._reading = True
        self._hosts: dict[str, int] = {}
        self.accepted = 0
        self.cut_off = 0
        self.bytes_received = 0

    def __len__(self) -> int:
        """Open connections."""
        return len(self._channels)

    def channels(self) -> tuple[Channel, ...]:
        """All of them, at this moment."""
        return tuple(self._channels.values())

    def of_host(self, host: str) -> int:
        """Open connections from one address."""
        return self._hosts.get(host, 0)

    def add(self, sock: socket.socket, peer: Address, speaks: frozenset[Speech] = EVERYTHING) -> None:
        """Take over an accepted, non-blocking socket."""
        channel: Channel
        output = Output(lambda: self._dirty.append(channel), soft=self._soft, hard=self._hard)
        channel = Channel(sock, peer, self._connect(output, peer.host, speaks), self._clock.now_ms())
        channel.mask = channel.wanted_mask()
        self._epoll.register(channel.fd, channel.mask)
        self._channels[channel.fd] = channel
        self._hosts[peer.host] = self.of_host(peer.host) + 1
        self.accepted += 1

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            while not self.sweep():  # noqa: ASYNC110 - other tasks have their turn between two budgets
                await trio.lowlevel.checkpoint()

    def attend(self, fd: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever this descriptor can be read. It stays open for as long as the poller runs."""
        self._attended[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def sweep(self) -> bool:
        """Take turns until there is nothing to read or to go on with; False if the budget ended it before."""
        deadline = time.perf_counter() + BUDGET_S
        while self._turn(deadline):
            if time.perf_counter() > deadline:
                return False
        return True

    def flush(self) -> None:
        """Send what is pending, once per connection, and settle who is read from next."""
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            now_ms = self._clock.now_ms()
            for channel in dirty:
                self._settle(channel, now_ms)
        if self._resumable:
            os.eventfd_write(self._nudge, 1)  # whoever called may not call again

    def stop_reading(self) -> None:
        """Take no further input: the server is stopping. What is held is dropped, it was not acknowledged."""
        self._reading = False
        self._resumable.clear()
        for channel in self._channels.values():
            self._register(channel)

    def unsent(self) -> int:
        """Connections that have output pending."""
        return sum(1 for channel in self._channels.values() if channel.output.pending)

    def check_deadlines(self, now_ms: int, handshake_ms: int, stall_ms: int) -> None:
        """Close connections that never said who they are, and those that have stopped reading."""
        self.inflow.weigh(self.bytes_received)
        for channel in list(self._channels.values()):
            if channel.blocked and now_ms - channel.progress_ms >= stall_ms:
                self._cut(channel, f"has read nothing for {stall_ms} ms")
            elif not channel.port.settled and now_ms - channel.opened_ms >= handshake_ms:
                self._cut(channel, f"no handshake within {handshake_ms} ms")

    def close(self) -> None:
        """Close every socket at once."""
        for channel in list(self._channels.values()):
            self._drop(channel)
        self._epoll.close()
        os.close(self._nudge)

    def _turn(self, deadline: float) -> bool:
        """Handle what is there, as far as the deadline allows, and answer it; False if there was nothing."""
        reports = self._epoll.poll(0, _REPORTS)
        if not reports:
            if self._idle():
                reports = self._epoll.poll(LINGER_S, _REPORTS)
            if not reports:
                return False
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        self._resume(deadline - BUDGET_S / 2, now_ms, wall_ms)
        channels, receive, clock = self._channels, self._receive, time.perf_counter
        for fd, mask in reports:
            channel = channels.get(fd)
            if channel is not None:
                if mask == _IN and self._reading:
                    receive(channel, now_ms, wall_ms)
                else:
                    self._handle(channel, mask, now_ms, wall_ms)
                if clock() > deadline:
                    break
            elif fd in self._attended:
                self._attended[fd]()
        if self.bytes_received >= self.inflow.weigh_at:
            self.inflow.weigh(self.bytes_received)
        self._handled()
        self.flush()
        return True

    def _nudged(self) -> None:
        os.eventfd_read(self._nudge)

    def _handle(self, channel: Channel, mask: int, now_ms: int, wall_ms: int) -> None:
        if mask & select.EPOLLOUT:
            channel.output.wake()
        if mask & _IN and self._reading:
            self._receive(channel, now_ms, wall_ms)
        elif mask & (select.EPOLLHUP | select.EPOLLERR):
            self._drop(channel)

    def _receive(self, channel: Channel, now_ms: int, wall_ms: int) -> None:
        port = channel.port
        carrier = port.session or port
        try:
            data = channel.socket.recv(READ_BYTES)
            if not data:
                self._drop(channel)
                return
            self.bytes_received += len(data)
            if carrier.receive(data, now_ms, wall_ms):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(channel)
            return
        except WireError as error:
            self._cut(channel, str(error))
            return
        if not port.output.woken and (carrier.holds_input or not carrier.wants_input):
            port.output.wake()

    def _resume(self, deadline: float, now_ms: int, wall_ms: int) -> None:
        """Handle frames that were held back. One turn each; who has more queues up again when its output was sent."""
        for _ in range(len(self._resumable)):
            if time.perf_counter() > deadline:
                return
            channel = self._resumable.popleft()
            if self._channels.get(channel.fd) is not channel:
                continue
            try:
                channel.port.resume(now_ms, wall_ms)
            except WireError as error:
                self._cut(channel, str(error))
                continue
            channel.output.wake()

    def _settle(self, channel: Channel, now_ms: int) -> None:
        port = channel.port
        output = port.output
        output.woken = False
        if self._channels.get(channel.fd) is not channel:
            return
        if port.wrapping is not None:
            port.wrapping.prepare()
        if port.traffic.waiting:
            port.traffic.settle(now_ms)
        if output.overflowed:
            self._cut(channel, f"does not read: more than {output.hard} bytes pending")
            return
        try:
            channel.send(output.pending, now_ms)
        except OSError:
            self._drop(channel)
            return
        if output.finished and not output.pending:
            self._drop(channel)
            return
        carrier = port.session or port
        wants = self._reading and carrier.wants_input
        if wants and carrier.holds_input:
            self._resumable.append(channel)
        if channel.mask != _IN or not wants or channel.blocked or port.session is None:
            self._register(channel)

    def _register(self, channel: Channel) -> None:
        mask = channel.wanted_mask()
        if not self._reading:
            mask &= ~_IN
        if mask != channel.mask:
            channel.mask = mask
            self._epoll.modify(channel.fd, mask)

    def _cut(self, channel: Channel, why: str) -> None:
        self.cut_off += 1
        _log.info("connection of %s closed: %s", channel.peer, why)
        if not channel.output.overflowed:
            with suppress(OSError):  # the last word, if the kernel takes it: why TLS was refused
                channel.send(channel.output.pending, channel.progress_ms)
        self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        del self._channels[channel.fd]
        self._epoll.unregister(channel.fd)
        channel.socket.close()
        channel.output.finish()
        channel.port.lost(self._clock.now_ms())
        channel.port.traffic.server.ended(channel.port.traffic)
        self._forget_host(channel.peer.host)

    def _forget_host(self, host: str) -> None:
        left = self._hosts[host] - 1
        if left:
            self._hosts[host] = left
        else:
            del self._hosts[host]
