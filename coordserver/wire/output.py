"""What waits to be sent on one connection: bytes, bounded.

Everybody's replies and events are appended here by one caller, the state machine's delivery, which may neither block
nor fail because one peer does not read. So a write beyond the limit only marks the output as overflowed; whoever drives
the connection cuts it off. Above `soft` the connection takes no further requests, so that only a peer which neither
reads nor asks (a watcher that sleeps) can reach `hard`.
"""

from __future__ import annotations

from collections.abc import Callable

from coordserver.core.model.budget import UNLIMITED, WorkBudget

LONG_BYTES = 4_096
"""A write that is longer counts against the budget of bytes."""

SLACK_BYTES = 64 * 1024
"""Memory that is not worth giving back."""


def _wake_nobody() -> None:
    """The driver of a closed connection."""


class Output:
    """Outgoing bytes of a connection.

    `wake` is called when there is something to do, once until the driver has `looked`. It must not call back. `budget`
    is the driver's: it limits the work of the connection that writes here.
    """

    __slots__ = ("_wake", "budget", "finished", "hard", "overflowed", "pending", "soft", "woken")

    def __init__(self, wake: Callable[[], None], *, soft: int, hard: int, budget: WorkBudget = UNLIMITED) -> None:
        self.budget = budget
        self.pending = bytearray()
        self.soft = soft
        self.hard = hard
        self.finished = False
        self.overflowed = False
        self._wake = wake
        self.woken = False

    def write(self, data: bytes) -> None:
        """Append; dropped once finished or overflowed. A single answer may be longer than the limit, two may not."""
        if self.finished or self.overflowed:
            return
        if len(self.pending) > self.hard:
            self.overflowed = True
            self.pending.clear()
        else:
            self.pending += data
            if len(data) > LONG_BYTES:
                self.budget.count_answer(len(data))
        if not self.woken:
            self.woken = True
            self._wake()

    def finish(self) -> None:
        """Nothing follows: the connection is closed once what is pending was sent."""
        self.finished = True
        self.wake()

    def compact(self) -> None:
        """Give back the memory of what was sent: a bytearray keeps up to as much as it holds."""
        pending = self.pending
        if pending.__alloc__() > len(pending) + len(pending) // 4 + SLACK_BYTES:
            self.pending = bytearray(pending)

    def discard(self) -> None:
        """The connection is closed: forget what is pending, and the driver."""
        self.finished = True
        self.pending = bytearray()
        self._wake = _wake_nobody

    def wake(self) -> None:
        """Ask the driver to look, once until it did."""
        if not self.woken:
            self.woken = True
            self._wake()

    def looked(self) -> None:
        """The driver has looked; the next change wakes it again."""
        self.woken = False

    @property
    def crowded(self) -> bool:
        """Too much is pending to take further requests."""
        return len(self.pending) > self.soft
