"""Where a Historical keeps its segments: one or more directories, each with its size, and which of them takes the next
(Druid's StorageLocation and StorageLocationSelectorStrategy).
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
    """One entry of `druid.segmentCache.locations`: segments lie in `path`/segments and take up to `max_size` bytes.

    `free_space_percent` of its disk stays free, whoever else fills it.
    """

    path: Path
    max_size: int
    free_space_percent: float = 0.0


class Selector(Enum):
    """Which location is tried first (`druid.segmentCache.locationSelector.strategy`)."""

    LEAST_BYTES_USED = "leastBytesUsed"
    ROUND_ROBIN = "roundRobin"
    RANDOM = "random"
    MOST_AVAILABLE_SIZE = "mostAvailableSize"


@attrs.define(eq=False)
class Location:
    """A location, its files and its books. `used` has the bytes of all that is there, comes or goes."""

    settings: CacheLocation
    files: SegmentFiles
    used: int = 0

    @property
    def available(self) -> int:
        """The bytes that its size allows further."""
        return self.settings.max_size - self.used


class Locations:
    """All of them, in the order in which they were named."""

    def __init__(
        self,
        settings: Sequence[CacheLocation],
        selector: Selector = Selector.LEAST_BYTES_USED,
        chance: random.Random | None = None,
    ) -> None:
        self.all = [Location(one, SegmentFiles(one.path / "segments")) for one in settings]
        self._selector = selector
        self._chance = chance or random.Random()
        self._turn = 0

    @property
    def max_size(self) -> int:
        """What they take together."""
        return sum(location.settings.max_size for location in self.all)

    async def choose(self, size: int, but: Collection[Location]) -> Location | None:
        """A location that takes so many bytes more and is not in `but`, the first in the selector's order; or None.

        Nothing is booked, but between the return and the caller's booking nobody else has a turn.
        """
        full = [location for location in self.all if not await _leaves_free(location.settings, size)]
        for location in self._ordered():
            if location.available >= size and location not in full and location not in but:
                self._turn = self.all.index(location) + 1
                return location
        return None

    def _ordered(self) -> list[Location]:
        match self._selector:
            case Selector.LEAST_BYTES_USED:
                return sorted(self.all, key=lambda location: location.used)
            case Selector.MOST_AVAILABLE_SIZE:
                return sorted(self.all, key=lambda location: -location.available)
            case Selector.RANDOM:
                return self._chance.sample(self.all, len(self.all))
            case Selector.ROUND_ROBIN:
                turn = self._turn % len(self.all)
                return self.all[turn:] + self.all[:turn]


async def _leaves_free(settings: CacheLocation, size: int) -> bool:
    """Whether the disk of a location stays as free as it shall, also with so many bytes more."""
    if not settings.free_space_percent:
        return True
    try:
        disk = await trio.to_thread.run_sync(shutil.disk_usage, settings.path)
    except OSError:
        return False
    return (disk.free - size) * 100 >= settings.free_space_percent * disk.total
