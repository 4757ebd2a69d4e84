"""All plain sockets in one task.

An epoll descriptor is itself readable when it has something to report, so one trio task waits for all sockets by
waiting for theirs: a task per connection costs a scheduling round per request, three times the rate at fifty
connections. Every wake-up handles all complete frames of what can be read, then starts the log, then sends once per
connection.

A turn is bounded in time and in bytes of answers, wherever the work is: between two frames of a connection, between
two connections, between two sends. Settled sessions with little work come first (the foreground). New connections,
handshakes, sessions with much work, and long outputs have a share of each turn behind them, in rounds
(server/background.py). What a turn leaves over comes first in the next one.

A sweep takes turns for `BUDGET_S` and then lets other tasks run. Work that no socket reports is remembered, and the
poller nudges itself through an eventfd.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import trio

from coordserver.config.address import Address
from coordserver.core.model.errors import WireError
from coordserver.server.background import Background
from coordserver.server.channel import Channel
from coordserver.server.clock import Clock
from coordserver.server.held_bytes import ConnectionMemory
from coordserver.server.pending_bytes import PendingBytes
from coordserver.server.sender import Sender
from coordserver.server.turn import ANSWER_BYTES, FEW_ANSWER_BYTES, SLICE_S, TurnBudget
from coordserver.wire.detect import WireProtocol
from coordserver.wire.output import Output
from coordserver.wire.port import EVERYTHING, PortConnection

_log = logging.getLogger(__name__)

READ_BYTES = 65_536
_IN = select.EPOLLIN
BUDGET_S = 0.004
LINGER_S = 0.001
"""How long a sweep waits for what is about to come; sockets are heard meanwhile, other tasks are not."""
LIGHT_BYTES = 64 * 1024
"""More output than this makes a channel one with much work."""

_REPORTS = 256


class Poller:
    """Owns every accepted socket. All methods run in the trio thread; none blocks, but a sweep for up to `LINGER_S`.

    `connect` makes what speaks on a new socket of a host, given what may be spoken there. `handled` is called
    after requests were handled, before anything is sent; `idle` when there is nothing to read: whether something is
    about to come all the same, for which a round of the scheduler would cost more than the wait. `meter` tells the
    seconds that turns are measured in.
    """

    def __init__(
        self,
        connect: Callable[[Output, str, frozenset[WireProtocol]], PortConnection],
        handled: Callable[[], None],
        idle: Callable[[], bool],
        clock: Clock,
        pending_bytes: PendingBytes,
        *,
        output_soft: int,
        output_hard: int,
        output_total: int,
        input_total: int,
        meter: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._connect = connect
        self._handled = handled
        self._idle = idle
        self._clock = clock
        self.pending_bytes = pending_bytes
        self._soft = output_soft
        self._hard = output_hard
        self.memory = ConnectionMemory(output_total=output_total, input_total=input_total)
        self._meter = meter
        self._budget = TurnBudget(meter)
        self._epoll = select.epoll()
        self._background = Background(self._epoll, self._budget, self._handle, self._resume)
        self._sender = Sender(self._settle, meter)
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._attended: dict[int, Callable[[], None]] = {}
        self.attend(self._nudge, self._nudged)
        self.attend(self._background.epoll.fileno(), self._background.wake)
        self._channels: dict[int, Channel] = {}
        self._left: list[tuple[int, int]] = []
        self._now = (clock.now_ms(), clock.wall_ms())
        self._sent_ms = clock.now_ms()
        self._reading = True
        self._waiting = False
        self._hosts: dict[str, int] = {}
        self.accepted = 0
        self.cut_off = 0
        self.cut_for_memory = 0
        self.left = 0
        self.handshakes_late = 0
        self.handshakes_failed = 0
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

    def add(self, sock: socket.socket, peer: Address, speaks: frozenset[WireProtocol] = EVERYTHING) -> None:
        """Take over an accepted, non-blocking socket."""
        channel: Channel
        sender = self._sender
        output = Output(lambda: sender.dirty.append(channel), soft=self._soft, hard=self._hard, budget=self._budget)
        channel = Channel(sock, peer, self._connect(output, peer.host, speaks), self._clock.now_ms())
        channel.mask = channel.wanted_mask()
        self._background.add(channel)
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
        deadline = self._meter() + BUDGET_S
        while self._turn(deadline):
            if self._meter() > deadline:
                self._nudge_if_waiting()
                return False
        return True

    def flush(self) -> None:
        """Send what is pending, as far as the turn allows, and settle who is read from next."""
        self._send()
        self._nudge_if_waiting()  # whoever called may not call again

    def stop_reading(self) -> None:
        """Take no further input: the server is stopping. What is held is dropped, it was not acknowledged."""
        self._reading = False
        self._left.clear()
        self._background.stop_reading()
        for channel in self._channels.values():
            self._register(channel)

    def unsent(self) -> int:
        """Connections that have output pending."""
        return sum(1 for channel in self._channels.values() if channel.port.unsent)

    def check_deadlines(self, now_ms: int, handshake_ms: int, stall_ms: int) -> None:
        """Close connections that never said who they are, and those that have stopped reading."""
        self.pending_bytes.weigh(self.bytes_received)
        for channel in list(self._channels.values()):
            if channel.blocked and now_ms - channel.progress_ms >= stall_ms:
                self._cut(channel, f"has read nothing for {stall_ms} ms")
            elif not channel.port.settled and now_ms - channel.opened_ms >= handshake_ms:
                self.handshakes_late += 1
                self._cut(channel, f"no handshake within {handshake_ms} ms")

    def close(self) -> None:
        """Close every socket at once."""
        for channel in list(self._channels.values()):
            self._drop(channel)
        self._background.close()
        self._epoll.close()
        os.close(self._nudge)

    def _turn(self, deadline: float) -> bool:
        """Handle what is there, as far as the budget allows, and answer it; False if there was nothing."""
        reports = self._epoll.poll(0, _REPORTS)
        if not reports and not self._waiting:
            if self._idle():
                reports = self._epoll.poll(LINGER_S, _REPORTS)
            if not reports:
                return False
        waiting, self._waiting = self._waiting, False
        self._now = now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        channels, receive, clock, budget = self._channels, self._receive, self._meter, self._budget
        crowded = self._sender.crowded
        budget.begin(deadline, FEW_ANSWER_BYTES if crowded and self.memory.output.pressed else ANSWER_BYTES)
        rest = iter(self._with_left(reports) if self._left else reports)
        for fd, mask in rest:
            channel = channels.get(fd)
            if channel is not None:
                if mask == _IN and self._reading:
                    receive(channel, now_ms, wall_ms)
                else:
                    self._handle(channel, mask)
                now = clock()
                if now > budget.end:
                    self._leave(rest)
                    break
                budget.limit = now + SLICE_S
            elif fd in self._attended:
                self._attended[fd]()
        if (waiting or self._background.ready) and self._background.serve(produce=not crowded):
            self._waiting = True
        if self.bytes_received >= self.pending_bytes.weigh_at:
            self.pending_bytes.weigh(self.bytes_received)
        self._handled()
        self._send()
        return True

    def _leave(self, rest: Iterator[tuple[int, int]]) -> None:
        """Keep what this turn has no time for."""
        self._left = [(fd, _IN) for fd, mask in rest if mask & _IN and fd in self._channels]
        self._waiting = True

    def _with_left(self, reports: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """First the channels that the last turn had no time for."""
        channels = self._channels
        left = {fd: mask for fd, mask in self._left if fd in channels and channels[fd].mask & mask}
        self._left = []
        return [*left.items(), *(report for report in reports if report[0] not in left)]

    def _nudge_if_waiting(self) -> None:
        if self._waiting:
            os.eventfd_write(self._nudge, 1)

    def _nudged(self) -> None:
        os.eventfd_read(self._nudge)

    def _handle(self, channel: Channel, mask: int) -> None:
        if mask & select.EPOLLOUT and not channel.output.woken:
            self._sender.put_off(channel)
        if mask & _IN and self._reading:
            self._receive(channel, *self._now)
        elif mask & (select.EPOLLHUP | select.EPOLLERR):
            self._lose(channel)

    def _receive(self, channel: Channel, now_ms: int, wall_ms: int) -> None:
        port = channel.port
        carrier = port.session or port
        try:
            data = channel.socket.recv(READ_BYTES)
            if not data:
                self._lose(channel)
                return
            self.bytes_received += len(data)
            if carrier.receive(data, now_ms, wall_ms):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lose(channel)
            return
        except WireError as error:
            self._cut(channel, str(error))
            return
        self.memory.note_input(channel)
        if not port.output.woken and (port.holds_input or not port.wants_input):
            port.output.wake()

    def _resume(self, channel: Channel) -> None:
        """Go on with frames that were held back. A channel that has more queues up again when its output was sent."""
        try:
            channel.port.resume(*self._now)
        except WireError as error:
            wrapping = channel.port.wrapping
            self.handshakes_failed += wrapping is not None and wrapping.shaking_hands
            self._cut(channel, str(error))
            return
        self.memory.note_input(channel)
        channel.output.wake()

    def _send(self) -> None:
        """Send as far as the turn allows, and cut off those who hold too much of what all hold."""
        self._sent_ms = self._clock.now_ms()
        if self._sender.send():
            self._waiting = True
        if self.memory.exceeded:
            for channel, why in self.memory.excess():
                self.cut_for_memory += 1
                self._cut(channel, why)

    def _settle(self, channel: Channel, long: bool) -> None:
        """Send, and decide whether the channel is read from next; put it off if its output is long and it is not the
        turn of those.
        """
        port = channel.port
        output = port.output
        pending = output.pending
        heavy = len(pending) > LIGHT_BYTES or (port.wrapping is not None and port.wrapping.unsent > LIGHT_BYTES)
        if heavy and not long and not output.overflowed:
            self._sender.put_off(channel)
            if channel.open:
                self.memory.note_output(channel)
            return
        if self._channels.get(channel.fd) is not channel:
            return
        if port.wrapping is not None:
            port.wrapping.prepare()  # what it writes is sent below: the output is still woken
        output.woken = False
        if port.traffic.waiting:
            port.traffic.settle(self._sent_ms)
        if output.overflowed:
            self._cut(channel, f"does not read: more than {output.hard} bytes pending")
            return
        try:
            channel.send(pending, self._sent_ms)
        except OSError:
            self._lose(channel)
            return
        session = port.session
        if (
            channel.calm
            and not (pending or heavy)
            and session is not None
            and session.wants_input
            and not session.holds_input
        ):
            return  # the usual case: nothing changes
        self._settle_rest(channel, heavy)

    def _settle_rest(self, channel: Channel, heavy: bool) -> None:
        """Close, or decide when the channel is sent to and read from next."""
        port = channel.port
        pending = port.output.pending
        if pending or port.wrapping is not None or channel.unsent:
            self._note_unsent(channel)
        if port.output.finished and not pending:
            self._drop(channel)
            return
        wants = self._reading and port.wants_input
        holds = port.holds_input
        if wants and holds and not channel.paused:
            self._background.queue(channel)
            self._waiting = True
        light = not (heavy or holds or channel.blocked)
        if channel.background or not light:
            self._background.classify(channel, light=light)
        self._register(channel)
        channel.calm = light and wants and not (channel.background or channel.unsent) and port.wrapping is None

    def _note_unsent(self, channel: Channel) -> None:
        """Count what is left, send more of it later, and stop reading from a channel that holds much while all do."""
        unsent = self.memory.note_output(channel)
        if channel.blocked:
            channel.output.compact()
        channel.paused = channel.blocked and unsent > LIGHT_BYTES and self.memory.output.pressed
        if unsent and not channel.blocked and not channel.output.woken:
            self._sender.put_off(channel)

    def _register(self, channel: Channel) -> None:
        mask = channel.wanted_mask()
        if not self._reading:
            mask &= ~_IN
        self._background.watch(channel, mask)

    def _cut(self, channel: Channel, why: str) -> None:
        self.cut_off += 1
        _log.info("connection of %s closed: %s", channel.peer, why)
        if not channel.output.overflowed:
            with suppress(OSError):  # the last word, if the kernel takes it: why TLS was refused
                channel.send(channel.output.pending, channel.progress_ms)
        self._drop(channel)

    def _lose(self, channel: Channel) -> None:
        """The peer is gone."""
        self.left += 1
        self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        del self._channels[channel.fd]
        self._background.remove(channel)
        self.memory.forget(channel)
        channel.socket.close()
        channel.port.lost(self._clock.now_ms())
        channel.output.discard()  # with it goes the circle of references: output, driver, channel
        channel.port.traffic.server.ended(channel.port.traffic)
        self._forget_host(channel.peer.host)

    def _forget_host(self, host: str) -> None:
        left = self._hosts[host] - 1
        if left:
            self._hosts[host] = left
        else:
            del self._hosts[host]
