"""Values at paths, found on the way down to another path.

Whoever asks a flat table for each znode above a path hashes all of these anew, which for a path of many components
grows with the square of its length. Here a path is taken apart once, and no further than anything lies on its way.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from coordserver.core.model.paths import ROOT

V = TypeVar("V")


class _Place(Generic[V]):
    __slots__ = ("below", "value")

    def __init__(self) -> None:
        self.value: V | None = None
        self.below: dict[str, _Place[V]] = {}


class Prefixes(Generic[V]):
    """Values by path. One at a path that no znode can have is kept nowhere, and found by nobody."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Place[V] = _Place()

    def put(self, path: str, value: V) -> None:
        """Set the value at a path."""
        if path[:1] != "/":
            return
        place = self._root
        for name in _names(path):
            below = place.below
            place = below.get(name) or below.setdefault(name, _Place())
        place.value = value

    def remove(self, path: str) -> None:
        """Take the value at a path away, if there is one."""
        if path[:1] != "/":
            return
        way: list[tuple[_Place[V], str]] = []
        place = self._root
        for name in _names(path):
            way.append((place, name))
            found = place.below.get(name)
            if found is None:
                return
            place = found
        place.value = None
        while way and place.value is None and not place.below:
            place, name = way.pop()
            del place.below[name]

    def along(self, path: str) -> list[V]:
        """The values at `path` and above it, the root's first."""
        place = self._root
        found: list[V] = [] if place.value is None else [place.value]
        start, size = 1, len(path)
        while place.below and start < size:
            end = path.find("/", start)
            if end < 0:
                end = size
            below = place.below.get(path[start:end])
            if below is None:
                break
            place = below
            if place.value is not None:
                found.append(place.value)
            start = end + 1
        return found


def _names(path: str) -> list[str]:
    return [] if path == ROOT else path[1:].split("/")
