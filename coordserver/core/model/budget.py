"""The budget of work between two looks at the sockets.

The driver of the connections makes one budget and hands it to all of them. Code whose work grows with a request or with
the state takes one step, asks `spent`, and when the budget is spent remembers where it stopped and returns. The driver
calls it again in a later turn. The core and the wire read no clock: the driver hands in the meter.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf


class WorkBudget:
    """`meter` tells the work done so far, in a unit that only the driver knows; the budget is spent above `limit`."""

    __slots__ = ("limit", "meter")

    def __init__(self, meter: Callable[[], float] = lambda: 0.0, limit: float = inf) -> None:
        self.meter = meter
        self.limit = limit

    def spent(self) -> bool:
        """Whether to stop before the next step. The first step of a call is always taken.

        A loop over short steps asks `meter() > limit` itself, in half the time.
        """
        return self.meter() > self.limit

    def count_answer(self, length: int) -> None:
        """Count the bytes of a long answer. Short ones cost more time than bytes and are not counted."""


UNLIMITED = WorkBudget()
