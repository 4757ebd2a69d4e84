"""Which events of the ring concern a path, found without looking at the others.

A block is a run of the ring's entries. It has their events in the order of their paths, in which a subtree lies
together, and in the order of their parents; so a question costs two searches in each block, and the events found. A
block is made when it is asked first and never changes: writes pay for none of it, however many events there are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from coordserver.core.model.operations import EventKind
from coordserver.core.model.paths import ROOT, parent_of
from coordserver.core.state.mutations import Event

BLOCK_EVENTS = 1024
"""Events of a block at least; a block holds whole entries."""

Entry = tuple[int, tuple[Event, ...]]

_DATA_CHANGED = int(EventKind.DATA_CHANGED)
_AFTER_SLASH = chr(ord("/") + 1)


class _Order:
    """Places of events in the order of a key."""

    __slots__ = ("_keys", "_places")

    def __init__(self, keyed: Iterable[tuple[str, int]]) -> None:
        pairs = sorted(keyed)
        self._keys = [key for key, _ in pairs]
        self._places = array("I", (place for _, place in pairs))

    def at(self, key: str) -> Sequence[int]:
        """Where events have this key."""
        keys = self._keys
        start = bisect_left(keys, key)
        if start == len(keys) or keys[start] != key:
            return ()  # nearly always
        return self._places[start : bisect_right(keys, key, start)]

    def below(self, path: str) -> Sequence[int]:
        """Where events have a key strictly below `path`, which is not the root."""
        keys, first = self._keys, path + "/"
        start = bisect_left(keys, first)
        if start == len(keys) or not keys[start].startswith(first):
            return ()
        return self._places[start : bisect_left(keys, path + _AFTER_SLASH, start)]


class Block:
    """The events of some entries. `last` is their last zxid."""

    __slots__ = ("_by_parent", "_by_path", "_events", "_zxids", "last")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.last = entries[-1][0]
        self._events = [event for _, events in entries for event in events]
        self._zxids = array("q", (zxid for zxid, events in entries for _ in events))
        self._by_path = _Order((event[1], place) for place, event in enumerate(self._events))
        self._by_parent = _Order(
            (parent_of(event[1]), place) for place, event in enumerate(self._events) if event[0] != _DATA_CHANGED
        )

    def about(self, zxid: int, path: str, *, below: bool) -> list[Entry]:
        """The events after `zxid` on `path`, and either those below it or those that changed its children."""
        places: Iterable[int]
        if below and path == ROOT:
            places = range(len(self._events))
        else:
            own = self._by_path.at(path)
            more = self._by_path.below(path) if below else self._by_parent.at(path)
            if not (own or more):
                return []
            places = sorted(dict.fromkeys((*own, *more)))
        events, first = self._events, bisect_right(self._zxids, zxid)
        found = groupby((place for place in places if place >= first), self._zxids.__getitem__)
        return [(of, tuple(map(events.__getitem__, together))) for of, together in found]


def blocks_of(entries: Iterable[Entry]) -> Iterator[Sequence[Entry]]:
    """`entries` cut into what makes a block each; too few at the end make none."""
    some: list[Entry] = []
    count = 0
    for entry in entries:
        some.append(entry)
        count += len(entry[1])
        if count >= BLOCK_EVENTS:
            yield some
            some, count = [], 0
