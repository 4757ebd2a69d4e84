"""The event ring: the latest events of the tree, so that a watch can resume where its connection was lost.

Entries are the events of one zxid each. When the ring is over its size whole entries leave it, oldest first, and
`floor` rises to the zxid of the last that left: who has seen everything up to the floor can resume, who has not cannot.

What a watch missed is looked up in an index (ring_index.py). That is made as far as it is asked for, leaves with its
entries and is in no snapshot; entries too new for it, fewer than a block of them, are looked through.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from coordserver.core.state.mutations import Event
from coordserver.core.state.ring_index import Block, Entry, blocks_of

RING_EVENTS = 50_000
"""How many events are kept."""


class EventRing:
    """The latest events by zxid."""

    __slots__ = ("_blocks", "_count", "_entries", "_indexed", "_left", "_limit", "floor")

    def __init__(self, limit: int = RING_EVENTS) -> None:
        self._entries: deque[Entry] = deque()
        self._limit = limit
        self._count = 0
        self._blocks: deque[Block] = deque()
        self._indexed = 0  # entries ever put into a block, or gone before they were
        self._left = 0  # entries ever gone
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
            self._left += 1
            if self._blocks and self._blocks[0].last <= self.floor:
                self._blocks.popleft()

    def restore(self, zxid: int, events: tuple[Event, ...]) -> None:
        """Add what another ring held: the events of a zxid, or the rest of those of the one before. Nothing was asked
        of this one yet.
        """
        entries = self._entries
        if entries and entries[-1][0] == zxid:
            entries[-1] = zxid, entries[-1][1] + events
        else:
            entries.append((zxid, events))
        self._count += len(events)

    def about(self, zxid: int, path: str, *, below: bool) -> list[Entry] | None:
        """What happened after `zxid` to `path`, and below it or to its children, oldest first; None where some of it is
        no longer known. The newest entries are whole where their paths begin as `path` does.
        """
        if zxid < self.floor:
            return None
        found: list[Entry] = []
        newest = self._index()
        for block in self._blocks:
            if block.last > zxid:
                found += block.about(zxid, path, below=below)
        for entry in newest:
            if entry[0] > zxid:
                for event in entry[1]:
                    if event[1].startswith(path):
                        found.append(entry)
                        break
        return found

    def _index(self) -> list[Entry]:
        """Make blocks of the entries that are in none; what is too little for one."""
        self._indexed = max(self._indexed, self._left)
        newest = [*islice(reversed(self._entries), len(self._entries) + self._left - self._indexed)]
        newest.reverse()
        done = 0
        for some in blocks_of(newest):
            self._blocks.append(Block(some))
            done += len(some)
        self._indexed += done
        return newest[done:]

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        return list(self._entries)
