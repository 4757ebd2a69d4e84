"""The segment cache of a Historical: the files of its segments, their disk space, and their state.

    (absent) -> LOADING -> SERVED <-> DROPPED -> DELETING -> (absent)

A segment reserves its space in one of the locations when its load begins, so that concurrent loads cannot exceed the
limit. If the disk of a location fails, the load tries the next location with enough space. A dropped segment still
answers queries for a while, because Brokers may not have received the change yet. It is deleted early when another
segment needs its space. Until then, loading it again costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

import attrs
import trio

from druidroles.coordination.changes import Revision
from druidroles.coordination.load_queue_runner import LoadFailedError
from druidroles.deepstorage import DeepStorage, DeepStorageError
from druidroles.historical.locations import Location, Locations
from druidroles.model.segment import DataSegment, SegmentDescriptor
from druidroles.query.source import ServedSegment
from druidroles.segments.errors import SegmentFileError

log = logging.getLogger(__name__)


class State(Enum):
    """The state of a segment in the cache."""

    LOADING = "loading"
    SERVED = "served"
    DROPPED = "dropped"
    DELETING = "deleting"


_QUERYABLE = (State.SERVED, State.DROPPED)


@attrs.define(eq=False)
class _Entry:
    segment: DataSegment
    location: Location
    path: Path
    state: State
    delete_at: float = 0.0
    settled: trio.Event = attrs.field(factory=trio.Event)  # set when the load has ended or the files are deleted


class SegmentCache:
    """A SegmentKeeper for the load worker and a SegmentSource for queries. Every change increases `revision`."""

    def __init__(
        self, locations: Locations, storage: DeepStorage, *, max_size: int, load_threads: int, drop_delay_s: float
    ) -> None:
        """`max_size` limits the bytes in all locations together."""
        self.revision = Revision()
        self.max_size = max_size
        self._locations = locations
        self._storage = storage
        self._drop_delay_s = drop_delay_s
        self._limiter = trio.CapacityLimiter(load_threads)
        self._entries: dict[str, _Entry] = {}
        self._index: dict[tuple[str, str, int], dict[str, _Entry]] = {}
        self._sizes = dict.fromkeys(State, 0)
        self._counts = dict.fromkeys(State, 0)
        self._dropped = trio.Event()

    # -- the segments -----------------------------------------------------------------------------------------------

    @property
    def served_size(self) -> int:
        """The bytes of the segments that are served and announced."""
        return self._sizes[State.SERVED]

    @property
    def dropped_size(self) -> int:
        """The bytes of the segments that are dropped and not deleted yet."""
        return self._sizes[State.DROPPED] + self._sizes[State.DELETING]

    @property
    def served(self) -> int:
        """The number of segments that are served and announced."""
        return self._counts[State.SERVED]

    @property
    def loading(self) -> int:
        """The number of segments that are being loaded."""
        return self._counts[State.LOADING]

    def segments(self) -> list[DataSegment]:
        """Return the segments to announce, in the order of their arrival."""
        return [entry.segment for entry in self._entries.values() if entry.state is State.SERVED]

    def find(self, data_source: str, descriptor: SegmentDescriptor) -> ServedSegment | None:
        same = self._index.get((data_source, descriptor.version, descriptor.partition), {})
        for entry in same.values():
            if entry.state in _QUERYABLE and entry.segment.interval.contains(descriptor.interval):
                return ServedSegment(entry.segment, entry.path)
        return None

    async def restore(self) -> None:
        """Serve the segments that an earlier process left in the locations. Raises NewerFormatError, OSError."""
        for location in self._locations.all:
            for segment in await trio.to_thread.run_sync(location.files.restore):
                if segment.id not in self._entries:
                    self._add_entry(segment, location, State.SERVED)
                else:  # two locations have it if they belonged to different Historicals before
                    await trio.to_thread.run_sync(location.files.remove, segment.id)
        if self._sizes[State.SERVED] > self.max_size:
            log.warning("%d bytes of segments are here, the limit is %d", self._sizes[State.SERVED], self.max_size)

    # -- load and drop ----------------------------------------------------------------------------------------------

    async def load(self, segment: DataSegment) -> None:
        if await self._wait_queryable(segment):
            return
        failed: dict[Location, OSError] = {}
        while not await self._try_load(segment, failed):
            pass

    async def _try_load(self, segment: DataSegment, failed: dict[Location, OSError]) -> bool:
        """Load a segment into one location that is not in `failed`.

        Returns True when the segment is loaded, by this call or by a concurrent one. Returns False if the caller must
        try again: a concurrent load failed, or the disk of the location failed, which is added to `failed` then.
        Raises LoadFailedError.
        """
        location = await self._make_room(segment, failed)
        if segment.id in self._entries:
            return await self._wait_queryable(segment)
        entry = self._add_entry(segment, location, State.LOADING)
        try:
            # When the process stops, the thread is abandoned. The next `restore` removes its incomplete files.
            await trio.to_thread.run_sync(
                location.files.fetch, self._storage, segment, limiter=self._limiter, abandon_on_cancel=True
            )
        except (DeepStorageError, SegmentFileError) as fault:
            raise LoadFailedError(str(fault)) from fault
        except OSError as fault:
            log.error("segment %s cannot be stored in %s: %s", segment.id, location.settings.path, fault)
            failed[location] = fault
            return False
        else:
            self._set_state(entry, State.SERVED)
            return True
        finally:
            if entry.state is State.LOADING:
                self._remove_entry(entry)
            entry.settled.set()

    async def _wait_queryable(self, segment: DataSegment) -> bool:
        """Wait for a load or deletion in progress, then return whether the segment answers queries.

        A dropped segment is served again.
        """
        while (entry := self._entries.get(segment.id)) is not None:
            if entry.state in _QUERYABLE:
                if entry.state is State.DROPPED:
                    self._set_state(entry, State.SERVED)
                return True
            await entry.settled.wait()
        return False

    def drop(self, segment_id: str) -> None:
        entry = self._entries.get(segment_id)
        if entry is not None and entry.state is State.SERVED:
            entry.delete_at = trio.current_time() + self._drop_delay_s
            self._set_state(entry, State.DROPPED)
            self._dropped.set()

    async def delete_dropped(self) -> None:
        """Delete each dropped segment `drop_delay_s` seconds after its drop. Runs until it is cancelled."""
        while True:
            self._dropped = trio.Event()
            oldest = self._oldest_dropped(self._locations.all)
            if oldest is None:
                await self._dropped.wait()
            elif oldest.delete_at > trio.current_time():
                # Meanwhile the segment may be loaded and dropped again, so look for the oldest again after the sleep.
                await trio.sleep_until(oldest.delete_at)
            else:
                await self._delete(oldest)

    async def _make_room(self, segment: DataSegment, failed: Mapping[Location, OSError]) -> Location:
        """Return a location with enough space for the segment, after deleting dropped segments if necessary.

        Raises LoadFailedError if the deletions do not free enough space, or if all locations have failed.
        """
        while True:
            location = await self._locations.choose(segment.size, failed)
            if location is not None and self._used + segment.size <= self.max_size:
                return location
            # If a location was chosen, the limit on all locations is exceeded, and a deletion in any of them helps.
            # Otherwise only a deletion in a location that is large enough helps.
            helpful = [
                candidate
                for candidate in self._locations.all
                if location is not None or (candidate.settings.max_size >= segment.size and candidate not in failed)
            ]
            oldest = self._oldest_dropped(helpful)
            deleting = (e for e in self._entries.values() if e.state is State.DELETING and e.location in helpful)
            if oldest is not None:
                await self._delete(oldest)
            elif (entry := next(deleting, None)) is not None:
                await entry.settled.wait()
            elif len(failed) == len(self._locations.all):
                faults = "; ".join(str(fault) for fault in failed.values())
                raise LoadFailedError(f"segment {segment.id} cannot be stored here: {faults}")
            else:
                raise LoadFailedError(self._describe_shortage(segment, failed))

    @property
    def _used(self) -> int:
        return sum(self._sizes.values())

    def _describe_shortage(self, segment: DataSegment, failed: Mapping[Location, OSError]) -> str:
        text = (
            f"no room for segment {segment.id}: it has {segment.size} bytes, {self._used} of {self.max_size} are used"
        )
        if len(self._locations.all) > 1:
            text += "".join(
                f"; {location.settings.path}: {failed.get(location) or f'{max(0, location.available)} bytes free'}"
                for location in self._locations.all
            )
        return text

    def _oldest_dropped(self, within: Collection[Location]) -> _Entry | None:
        dropped = (e for e in self._entries.values() if e.state is State.DROPPED and e.location in within)
        return min(dropped, key=lambda entry: entry.delete_at, default=None)

    async def _delete(self, entry: _Entry) -> None:
        entry.settled = trio.Event()
        self._set_state(entry, State.DELETING)
        try:
            await trio.to_thread.run_sync(entry.location.files.remove, entry.segment.id)
        except OSError as fault:
            log.error("the files of segment %s cannot be removed: %s", entry.segment.id, fault)
        finally:
            self._remove_entry(entry)
            entry.settled.set()

    # -- entries and totals -----------------------------------------------------------------------------------------

    def _add_entry(self, segment: DataSegment, location: Location, state: State) -> _Entry:
        entry = _Entry(segment, location, location.files.data_path(segment.id), state)
        location.used += segment.size
        self._entries[segment.id] = entry
        self._index.setdefault(_key(segment), {})[segment.id] = entry
        self._update_totals(entry, 1)
        return entry

    def _set_state(self, entry: _Entry, state: State) -> None:
        self._update_totals(entry, -1)
        entry.state = state
        self._update_totals(entry, 1)

    def _remove_entry(self, entry: _Entry) -> None:
        self._update_totals(entry, -1)
        entry.location.used -= entry.segment.size
        del self._entries[entry.segment.id]
        same = self._index[_key(entry.segment)]
        del same[entry.segment.id]
        if not same:
            del self._index[_key(entry.segment)]

    def _update_totals(self, entry: _Entry, sign: int) -> None:
        self._sizes[entry.state] += sign * entry.segment.size
        self._counts[entry.state] += sign
        self.revision.bump()


def _key(segment: DataSegment) -> tuple[str, str, int]:
    return segment.data_source, segment.version, segment.partition_num
