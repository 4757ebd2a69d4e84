"""The work budget of the poller's turns, in time and in bytes of answers."""

from __future__ import annotations

from collections.abc import Callable

from coordserver.core.model.budget import WorkBudget

SLICE_S = 0.001
"""Time for the frames of one connection, if others wait. A single frame may take longer."""

ANSWER_BYTES = 4 * 1024 * 1024
"""Bytes of long answers that one kind of connections produces in a turn. The last answer may exceed it."""

FEW_ANSWER_BYTES = 64 * 1024
"""The same while answers cannot leave as fast as they are produced."""

_OVER = -1.0


class TurnBudget(WorkBudget):
    """`limit` ends the slice of one connection, `end` the work on one kind of connections."""

    __slots__ = ("_bytes_left", "end")

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock, _OVER)
        self.end = _OVER
        self._bytes_left = 0

    def begin(self, until: float, answer_bytes: int = ANSWER_BYTES) -> None:
        """Begin with one kind of connections, which may take until then; so may the first of them."""
        self.end = self.limit = until
        self._bytes_left = answer_bytes

    def begin_share(self, seconds: float) -> None:
        """Begin with one kind of connections, which may take so long."""
        self.begin(self.meter() + seconds)

    def exhausted(self) -> bool:
        """Whether to leave the other connections for the next turn. If not, the slice of the next one begins."""
        now = self.meter()
        self.limit = now + SLICE_S
        return now > self.end

    def count_answer(self, length: int) -> None:
        """Count the bytes of a long answer; with the last of them everything ends."""
        self._bytes_left -= length
        if self._bytes_left <= 0:
            self.limit = self.end = _OVER
