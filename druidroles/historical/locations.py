"""The cache locations of a Historical, and the choice of a location for a new segment.

Each location is a directory with a size limit (Druid's StorageLocation and StorageLocationSelectorStrategy).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection, Sequence
from enum import Enum
from pathlib import Path

import attrs
import trio

from druidroles.historical.files import SegmentFiles


@attrs.frozen
class CacheLocation:
    """One entry of `druid.segmentCache.locations`.

    Segments are stored in `path`/segments and use at most `max_size` bytes. At least `free_space_percent` of the disk
    must stay free after a load, even if other programs use the disk as well.
    """

    path: Path
    max_size: int
    free_space_percent: float = 0.0


class Selector(Enum):
    """The order in which locations are tried (`druid.segmentCache.locationSelector.strategy`)."""

    LEAST_BYTES_USED = "leastBytesUsed"
    ROUND_ROBIN = "roundRobin"
    RANDOM = "random"
    MOST_AVAILABLE_SIZE = "mostAvailableSize"


@attrs.define(eq=False)
class Location:
    """A location with its files. `used` is the bytes of its segments, including those being loaded or deleted."""

    settings: CacheLocation
    files: SegmentFiles
    used: int = 0

    @property
    def available(self) -> int:
        """The bytes that further segments may use. Negative if the segments exceed the limit."""
        return self.settings.max_size - self.used


class Locations:
    """All locations of a Historical, in the order of the setting."""

    def __init__(
        self,
        settings: Sequence[CacheLocation],
        selector: Selector = Selector.LEAST_BYTES_USED,
        chance: random.Random | None = None,
    ) -> None:
        self.all = [Location(location, SegmentFiles(location.path / "segments")) for location in settings]
        self._selector = selector
        self._chance = chance or random.Random()
        self._next_index = 0

    @property
    def max_size(self) -> int:
        """The limit of all locations together, in bytes."""
        return sum(location.settings.max_size for location in self.all)

    async def choose(self, size: int, excluded: Collection[Location]) -> Location | None:
        """Return the first location in the selector's order that has `size` bytes free and is not in `excluded`.

        Returns None if there is no such location. The space is not reserved. The caller must reserve it before its
        next checkpoint, so that no other task runs in between.
        """
        full = [location for location in self.all if not await _leaves_free(location.settings, size)]
        for location in self._sort_by_preference():
            if location.available >= size and location not in full and location not in excluded:
                self._next_index = self.all.index(location) + 1
                return location
        return None

    def _sort_by_preference(self) -> list[Location]:
        match self._selector:
            case Selector.LEAST_BYTES_USED:
                return sorted(self.all, key=lambda location: location.used)
            case Selector.MOST_AVAILABLE_SIZE:
                return sorted(self.all, key=lambda location: -location.available)
            case Selector.RANDOM:
                return self._chance.sample(self.all, len(self.all))
            case Selector.ROUND_ROBIN:
                first = self._next_index % len(self.all)
                return self.all[first:] + self.all[:first]


async def _leaves_free(settings: CacheLocation, size: int) -> bool:
    """Return whether `free_space_percent` of the disk stays free after another `size` bytes are written."""
    if not settings.free_space_percent:
        return True
    try:
        disk = await trio.to_thread.run_sync(shutil.disk_usage, settings.path)
    except OSError:
        return False
    return (disk.free - size) * 100 >= settings.free_space_percent * disk.total
