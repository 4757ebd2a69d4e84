"""Sessions as the replicated state knows them, each with the outcomes that make its writes happen exactly once.

A client numbers its writes and says with each which of the earlier ones it has seen answered (`acked`). The session
remembers the outcomes from there on; a number it knows is answered from memory, never applied again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MAX_REMEMBERED = 1024
"""Outcomes that a session remembers at most; prep refuses a write beyond it (docs/protocol.md, "Exactly once")."""

MAX_REMEMBERED_BYTES = 1 << 20
"""The same in bytes, as estimated by `weight`."""

_OVERHEAD = 160


class Remembered(NamedTuple):
    """The outcome of a write, kept for its being sent again."""

    zxid: int
    error: int
    result: tuple[Any, ...]
    detail: str


def weight(result: tuple[Any, ...]) -> int:
    """About how many bytes an outcome takes: more for the path of a create, and for each part of a multi."""
    if not result:
        return _OVERHEAD
    first = result[0]
    if type(first) is str:
        return _OVERHEAD + len(first)
    if type(first) is tuple:
        return _OVERHEAD + sum(weight(part[1:]) for part in first)
    return _OVERHEAD


class Session:
    """One session: its secret, its timeout in ms, the count of its connections, its remembered outcomes.

    `walk` is the number of the last walk (walk.py) that has been here or need not come.
    """

    __slots__ = ("acked", "attachment", "id", "last_number", "outcomes", "password", "timeout_ms", "walk", "weight")

    def __init__(self, session_id: int, password: bytes, timeout_ms: int) -> None:
        self.id = session_id
        self.password = password
        self.timeout_ms = timeout_ms
        self.attachment = 1
        self.last_number = 0
        self.acked = 0
        self.outcomes: dict[int, Remembered] = {}
        self.weight = 0
        self.walk = 0

    def remember(self, number: int, outcome: Remembered) -> None:
        """Keep the outcome of a write."""
        self.outcomes[number] = outcome
        self.weight += weight(outcome.result)
        self.last_number = max(self.last_number, number)

    def forget_below(self, acked: int) -> None:
        """Drop what the client has seen answered."""
        if acked <= self.acked:
            return
        self.acked = acked
        outcomes = self.outcomes
        # Numbers rise, so the oldest come first; one that was sent again late may sit behind and waits its turn.
        while outcomes:
            oldest = next(iter(outcomes))
            if oldest >= acked:
                break
            self.weight -= weight(outcomes.pop(oldest).result)

    def weight_from(self, acked: int) -> int:
        """What the outcomes weigh that remain once those below `acked` are forgotten. O(n)."""
        return sum(weight(outcome.result) for number, outcome in self.outcomes.items() if number >= acked)
