"""The event ring: the latest events of the tree, so that a watch can resume where its connection was lost.

Entries are the events of one zxid each. When the ring is over its size whole entries leave it, oldest first, and
`floor` rises to the zxid of the last that left: who has seen everything up to the floor can resume, who has not cannot.
"""

from __future__ import annotations

from collections import deque

from coordserver.core.mutations import Event

RING_EVENTS = 50_000
"""How many events are kept."""

Entry = tuple[int, tuple[Event, ...]]


class EventRing:
    """The latest events by zxid."""

    __slots__ = ("_count", "_entries", "_limit", "floor")

    def __init__(self, limit: int = RING_EVENTS) -> None:
        self._entries: deque[Entry] = deque()
        self._limit = limit
        self._count = 0
        self.floor = 0

    def __len__(self) -> int:
        return self._count

    def append(self, zxid: int, events: tuple[Event, ...]) -> None:
        """Add the events of a zxid higher than all before."""
        self._entries.append((zxid, events))
        self._count += len(events)
        while self._count > self._limit:
            self.floor, left = self._entries.popleft()
            self._count -= len(left)

    def restore(self, zxid: int, events: tuple[Event, ...]) -> None:
        """Add what another ring held: the events of a zxid, or the rest of those of the one before."""
        entries = self._entries
        if entries and entries[-1][0] == zxid:
            entries[-1] = zxid, entries[-1][1] + events
        else:
            entries.append((zxid, events))
        self._count += len(events)

    def since(self, zxid: int) -> list[Entry] | None:
        """Everything after `zxid`, oldest first; None where some of it is no longer known."""
        if zxid < self.floor:
            return None
        missed: list[Entry] = []
        for entry in reversed(self._entries):
            if entry[0] <= zxid:
                break
            missed.append(entry)
        missed.reverse()
        return missed

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        return list(self._entries)
