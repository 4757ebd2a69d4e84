"""How a view tells that it has changed: a revision for readers of the state, deltas for one follower of the changes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

import trio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Revision:
    """A number that rises with each change; any number of tasks may wait for it to pass what they have seen."""

    def __init__(self) -> None:
        self.value = 0
        self._next = trio.Event()

    def bump(self) -> None:
        """Tell of a change."""
        self.value += 1
        self._next.set()
        self._next = trio.Event()

    async def passed(self, seen: int | None = None) -> int:
        """Wait until the number is beyond `seen` (by default: beyond what it is now); returns it."""
        seen = self.value if seen is None else seen
        while self.value <= seen:
            await self._next.wait()
        return self.value


class Delta(NamedTuple, Generic[K, V]):
    """What became of one thing: `old` None where it came, `new` None where it went."""

    key: K
    old: V | None
    new: V | None


class Deltas(Generic[K, V]):
    """Changes not yet taken, at most one for each key: what comes and goes in between is never told.

    So they are bounded by what the view holds and held, however slow the follower.
    """

    def __init__(self) -> None:
        self._pending: dict[K, Delta[K, V]] = {}

    def __bool__(self) -> bool:
        return bool(self._pending)

    def put(self, key: K, old: V | None, new: V | None) -> None:
        """Note a change."""
        before = self._pending.get(key)
        if before is not None:
            old = before.old
        # A value is never equal to None; not asking it saves a call for each of very many.
        if old is new or (old is not None and new is not None and old == new):
            self._pending.pop(key, None)
        else:
            self._pending[key] = Delta(key, old, new)

    def take(self) -> list[Delta[K, V]]:
        """All that is pending, in order of the first change of each; nothing is pending after."""
        taken = list(self._pending.values())
        self._pending.clear()
        return taken
