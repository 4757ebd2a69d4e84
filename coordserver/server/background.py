"""Channels that wait until the settled sessions with little work were served: new ones, and those with much work.

They have an epoll of their own, whose descriptor is readable in the poller's. Each kind of work has its share of every
turn, so none of them starves another: sockets to read, held frames of sessions and slices of answers, handshakes.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable

from coordserver.server.channel import Channel
from coordserver.server.turn import TurnBudget

SHARE_S = 0.001
"""What each kind of work gets of a turn, and at least one step."""

_REPORTS = 64


LIGHT_TURNS = 2
"""So many turns with little work bring a session to the foreground. The answer to its handshake is the first."""


class Background:
    """`handle` is called with a channel and what epoll reported of it, `resume` with one that holds input.

    `foreground` is the epoll of the other channels. `ready`: the epoll has something to report.
    """

    def __init__(
        self,
        foreground: select.epoll,
        budget: TurnBudget,
        handle: Callable[[Channel, int], None],
        resume: Callable[[Channel], None],
    ) -> None:
        self.epoll = select.epoll()
        self._foreground = foreground
        self._budget = budget
        self._handle = handle
        self._resume = resume
        self.ready = False
        self._by_fd: dict[int, Channel] = {}
        self._reports: deque[tuple[int, int]] = deque()
        self._sessions: deque[Channel] = deque()
        self._newcomers: deque[Channel] = deque()

    def wake(self) -> None:
        """The epoll has something to report."""
        self.ready = True

    def add(self, channel: Channel) -> None:
        """Take a new channel in."""
        self._by_fd[channel.fd] = channel
        self.epoll.register(channel.fd, channel.mask)

    def remove(self, channel: Channel) -> None:
        """Watch a channel no longer, wherever it is."""
        if channel.background:
            del self._by_fd[channel.fd]
            self.epoll.unregister(channel.fd)
        else:
            self._foreground.unregister(channel.fd)

    def watch(self, channel: Channel, mask: int) -> None:
        """Have epoll report something else of a channel."""
        if mask != channel.mask:
            channel.mask = mask
            (self.epoll if channel.background else self._foreground).modify(channel.fd, mask)

    def classify(self, channel: Channel, *, light: bool) -> None:
        """Move a channel between foreground and background, by the work of this turn."""
        session = channel.port.session
        if not light or session is None or not session.attached:
            channel.light_turns = 0
            if not channel.background:
                self.remove(channel)
                channel.background = True
                self.add(channel)
        elif channel.background:
            channel.light_turns += 1
            if channel.light_turns >= LIGHT_TURNS:
                self.remove(channel)
                channel.background = False
                self._foreground.register(channel.fd, channel.mask)

    def queue(self, channel: Channel) -> None:
        """Resume a channel, of whichever epoll, in its turn."""
        if not channel.queued:
            channel.queued = True
            (self._sessions if channel.port.settled else self._newcomers).append(channel)

    def stop_reading(self) -> None:
        """Drop what is held back."""
        self._sessions.clear()
        self._newcomers.clear()

    def serve(self, *, produce: bool) -> bool:
        """Give each kind of work its share; whether work is left that no socket reports. A channel is resumed once at
        most: it is queued again after it was sent its answers. `produce`: answers may be produced, too.
        """
        if produce:
            if self.ready or self._reports:
                self._serve_sockets()
            if self._sessions:
                self._serve_queue(self._sessions)
        if self._newcomers:
            self._serve_queue(self._newcomers)
        return self.ready or bool(self._sessions or self._newcomers or self._reports)

    def close(self) -> None:
        """Close the epoll."""
        self.epoll.close()

    def _serve_sockets(self) -> None:
        reports = self._reports
        if not reports:
            self.ready = False
            reports.extend(self.epoll.poll(0, _REPORTS))
        self._budget.begin_share(SHARE_S)
        while reports:
            fd, mask = reports.popleft()
            channel = self._by_fd.get(fd)
            if channel is not None:
                self._handle(channel, mask)
                if self._budget.exhausted():
                    return

    def _serve_queue(self, queue: deque[Channel]) -> None:
        self._budget.begin_share(SHARE_S)
        for _ in range(len(queue)):
            channel = queue.popleft()
            channel.queued = False
            if channel.open:
                self._resume(channel)
                if self._budget.exhausted():
                    return
