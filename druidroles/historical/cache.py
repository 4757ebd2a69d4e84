"""The segments that this Historical has: their files, the room they take, and which of them answer queries.

    (absent) -> LOADING -> SERVED <-> DROPPED -> DELETING -> (absent)

A segment takes its room in one of the locations from the moment it is begun to be loaded, so that loads side by side
cannot take more than there is. A location whose disk fails is no reason to fail where another has room. What is dropped
goes on answering queries for a while, as Brokers may not have heard yet; it goes at once where its room is needed. To
load it again meanwhile costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

import attrs
import trio

from druidroles.coordination.changes import Revision
from druidroles.coordination.load_worker import LoadFailedError
from druidroles.deepstorage import DeepStorage, DeepStorageError
from druidroles.historical.locations import Location, Locations
from druidroles.model.segment import DataSegment, SegmentDescriptor
from druidroles.query.source import ServedSegment
from druidroles.segments.errors import SegmentFileError

log = logging.getLogger(__name__)


class State(Enum):
    """How far a segment is."""

    LOADING = "loading"
    SERVED = "served"
    DROPPED = "dropped"
    DELETING = "deleting"


_ANSWERS = (State.SERVED, State.DROPPED)


@attrs.define(eq=False)
class _Entry:
    segment: DataSegment
    location: Location
    path: Path
    state: State
    delete_at: float = 0.0
    settled: trio.Event = attrs.field(factory=trio.Event)  # loaded or given up, or deleted


class SegmentCache:
    """A SegmentKeeper for the load worker and a SegmentSource for queries. `revision` rises with each change."""

    def __init__(
        self, locations: Locations, storage: DeepStorage, *, max_size: int, load_threads: int, drop_delay_s: float
    ) -> None:
        """`max_size` bounds all locations together."""
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

    # -- what is here -----------------------------------------------------------------------------------------------

    @property
    def served_size(self) -> int:
        """The bytes of what is served and announced."""
        return self._sizes[State.SERVED]

    @property
    def dropped_size(self) -> int:
        """The bytes of what was dropped and is not deleted yet."""
        return self._sizes[State.DROPPED] + self._sizes[State.DELETING]

    @property
    def served(self) -> int:
        """How many segments are served and announced."""
        return self._counts[State.SERVED]

    @property
    def loading(self) -> int:
        """How many segments are being loaded."""
        return self._counts[State.LOADING]

    def segments(self) -> list[DataSegment]:
        """What is to be announced, in the order in which it came."""
        return [entry.segment for entry in self._entries.values() if entry.state is State.SERVED]

    def find(self, data_source: str, descriptor: SegmentDescriptor) -> ServedSegment | None:
        """See SegmentSource.find."""
        same = self._index.get((data_source, descriptor.version, descriptor.partition), {})
        for entry in same.values():
            if entry.state in _ANSWERS and entry.segment.interval.contains(descriptor.interval):
                return ServedSegment(entry.segment, entry.path)
        return None

    async def restore(self) -> None:
        """Take up what a predecessor left in the locations. Raises NewerFormatError, OSError."""
        for location in self._locations.all:
            for segment in await trio.to_thread.run_sync(location.files.restore):
                if segment.id not in self._entries:
                    self._enter(segment, location, State.SERVED)
                else:  # locations were put together that had been two Historicals' own
                    await trio.to_thread.run_sync(location.files.remove, segment.id)
        if self._sizes[State.SERVED] > self.max_size:
            log.warning("%d bytes of segments are here, the limit is %d", self._sizes[State.SERVED], self.max_size)

    # -- what comes and goes ----------------------------------------------------------------------------------------

    async def load(self, segment: DataSegment) -> None:
        """See SegmentKeeper.load."""
        if await self._is_here(segment):
            return
        failed: dict[Location, OSError] = {}
        while not await self._loaded(segment, failed):
            pass

    async def _loaded(self, segment: DataSegment, failed: dict[Location, OSError]) -> bool:
        """Load a segment into a location that has not failed; False where that one fails now. Raises LoadFailedError.

        It may be here already afterwards, by somebody else's work.
        """
        location = await self._make_room(segment, failed)
        if segment.id in self._entries:
            return await self._is_here(segment)
        entry = self._enter(segment, location, State.LOADING)
        try:
            # Given up when the process stops: what the thread leaves behind is sorted out by the next `restore`.
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
            self._move(entry, State.SERVED)
            return True
        finally:
            if entry.state is State.LOADING:
                self._leave(entry)
            entry.settled.set()

    async def _is_here(self, segment: DataSegment) -> bool:
        """Whether a segment answers queries; waits for whoever works on it."""
        while (entry := self._entries.get(segment.id)) is not None:
            if entry.state in _ANSWERS:
                if entry.state is State.DROPPED:
                    self._move(entry, State.SERVED)
                return True
            await entry.settled.wait()
        return False

    def drop(self, segment_id: str) -> None:
        """See SegmentKeeper.drop."""
        entry = self._entries.get(segment_id)
        if entry is not None and entry.state is State.SERVED:
            entry.delete_at = trio.current_time() + self._drop_delay_s
            self._move(entry, State.DROPPED)
            self._dropped.set()

    async def delete_dropped(self) -> None:
        """Delete what was dropped when its time has come, for ever."""
        while True:
            self._dropped = trio.Event()
            oldest = self._oldest_dropped(self._locations.all)
            if oldest is None:
                await self._dropped.wait()
            elif oldest.delete_at > trio.current_time():
                # A reload may take it back and another drop set it anew, so it is looked up again afterwards.
                await trio.sleep_until(oldest.delete_at)
            else:
                await self._delete(oldest)

    async def _make_room(self, segment: DataSegment, failed: Mapping[Location, OSError]) -> Location:
        """Wait until the segment fits somewhere, deleting what was dropped. Raises LoadFailedError where that does not
        help, or where no location is left that has not failed.
        """
        while True:
            location = await self._locations.choose(segment.size, failed)
            if location is not None and self._used + segment.size <= self.max_size:
                return location
            # Either all together have no room, or no single one has that is large enough.
            helpful = [
                one
                for one in self._locations.all
                if location is not None or (one.settings.max_size >= segment.size and one not in failed)
            ]
            oldest = self._oldest_dropped(helpful)
            leaving = (e for e in self._entries.values() if e.state is State.DELETING and e.location in helpful)
            if oldest is not None:
                await self._delete(oldest)
            elif (entry := next(leaving, None)) is not None:
                await entry.settled.wait()
            elif len(failed) == len(self._locations.all):
                faults = "; ".join(str(fault) for fault in failed.values())
                raise LoadFailedError(f"segment {segment.id} cannot be stored here: {faults}")
            else:
                raise LoadFailedError(self._no_room(segment, failed))

    @property
    def _used(self) -> int:
        return sum(self._sizes.values())

    def _no_room(self, segment: DataSegment, failed: Mapping[Location, OSError]) -> str:
        text = (
            f"no room for segment {segment.id}: it has {segment.size} bytes, {self._used} of {self.max_size} are used"
        )
        if len(self._locations.all) > 1:
            text += "".join(
                f"; {one.settings.path}: {failed.get(one) or f'{max(0, one.available)} bytes free'}"
                for one in self._locations.all
            )
        return text

    def _oldest_dropped(self, within: Collection[Location]) -> _Entry | None:
        dropped = (e for e in self._entries.values() if e.state is State.DROPPED and e.location in within)
        return min(dropped, key=lambda entry: entry.delete_at, default=None)

    async def _delete(self, entry: _Entry) -> None:
        entry.settled = trio.Event()
        self._move(entry, State.DELETING)
        try:
            await trio.to_thread.run_sync(entry.location.files.remove, entry.segment.id)
        except OSError as fault:
            log.error("the files of segment %s cannot be removed: %s", entry.segment.id, fault)
        finally:
            self._leave(entry)
            entry.settled.set()

    # -- the books --------------------------------------------------------------------------------------------------

    def _enter(self, segment: DataSegment, location: Location, state: State) -> _Entry:
        entry = _Entry(segment, location, location.files.data_path(segment.id), state)
        location.used += segment.size
        self._entries[segment.id] = entry
        self._index.setdefault(_key(segment), {})[segment.id] = entry
        self._count(entry, 1)
        return entry

    def _move(self, entry: _Entry, state: State) -> None:
        self._count(entry, -1)
        entry.state = state
        self._count(entry, 1)

    def _leave(self, entry: _Entry) -> None:
        self._count(entry, -1)
        entry.location.used -= entry.segment.size
        del self._entries[entry.segment.id]
        same = self._index[_key(entry.segment)]
        del same[entry.segment.id]
        if not same:
            del self._index[_key(entry.segment)]

    def _count(self, entry: _Entry, by: int) -> None:
        self._sizes[entry.state] += by * entry.segment.size
        self._counts[entry.state] += by
        self.revision.bump()


def _key(segment: DataSegment) -> tuple[str, str, int]:
    return segment.data_source, segment.version, segment.partition_num
