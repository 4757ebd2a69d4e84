"""The segments that this Historical has: their files, the room they take, and which of them answer queries.

    (absent) -> LOADING -> SERVED <-> DROPPED -> DELETING -> (absent)

A segment takes its room from the moment it is begun to be loaded, so that loads side by side cannot take more than
there is. One that is dropped goes on answering queries for a while, as Brokers may not have heard yet; it goes at once
where its room is needed. To load it again meanwhile costs nothing.
"""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path

import attrs
import trio

from druidroles.coordination.changes import Revision
from druidroles.coordination.load_worker import LoadFailedError
from druidroles.deepstorage import DeepStorage, DeepStorageError
from druidroles.historical.files import SegmentFiles
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
    path: Path
    state: State
    delete_at: float = 0.0
    settled: trio.Event = attrs.field(factory=trio.Event)  # loaded or given up, or deleted


class SegmentCache:
    """A SegmentKeeper for the load worker and a SegmentSource for queries. `revision` rises with each change."""

    def __init__(
        self, files: SegmentFiles, storage: DeepStorage, *, max_size: int, load_threads: int, drop_delay_s: float
    ) -> None:
        self.revision = Revision()
        self.max_size = max_size
        self._files = files
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
        """Take up what a predecessor left in the directory. Raises NewerFormatError, OSError."""
        for segment in await trio.to_thread.run_sync(self._files.restore):
            self._enter(segment, State.SERVED)
        if self._sizes[State.SERVED] > self.max_size:
            log.warning("%d bytes of segments are here, the limit is %d", self._sizes[State.SERVED], self.max_size)

    # -- what comes and goes ----------------------------------------------------------------------------------------

    async def load(self, segment: DataSegment) -> None:
        """See SegmentKeeper.load."""
        while (entry := self._entries.get(segment.id)) is not None:
            if entry.state in _ANSWERS:
                if entry.state is State.DROPPED:
                    self._move(entry, State.SERVED)
                return
            await entry.settled.wait()
        await self._make_room(segment)
        entry = self._enter(segment, State.LOADING)
        try:
            # Given up when the process stops: what the thread leaves behind is sorted out by the next `restore`.
            await trio.to_thread.run_sync(
                self._files.fetch, self._storage, segment, limiter=self._limiter, abandon_on_cancel=True
            )
        except (DeepStorageError, SegmentFileError) as fault:
            raise LoadFailedError(str(fault)) from fault
        except OSError as fault:
            raise LoadFailedError(f"segment {segment.id} cannot be stored here: {fault}") from fault
        else:
            self._move(entry, State.SERVED)
        finally:
            if entry.state is State.LOADING:
                self._leave(entry)
            entry.settled.set()

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
            oldest = self._oldest_dropped()
            if oldest is None:
                await self._dropped.wait()
            elif oldest.delete_at > trio.current_time():
                # A reload may take it back and another drop set it anew, so it is looked up again afterwards.
                await trio.sleep_until(oldest.delete_at)
            else:
                await self._delete(oldest)

    async def _make_room(self, segment: DataSegment) -> None:
        """Wait until the segment fits, deleting what was dropped. Raises LoadFailedError where that does not help."""
        while (used := sum(self._sizes.values())) + segment.size > self.max_size:
            oldest = self._oldest_dropped()
            leaving = next((entry for entry in self._entries.values() if entry.state is State.DELETING), None)
            if oldest is not None:
                await self._delete(oldest)
            elif leaving is not None:
                await leaving.settled.wait()
            else:
                raise LoadFailedError(
                    f"no room for segment {segment.id}: it has {segment.size} bytes, {used} of {self.max_size} are used"
                )

    def _oldest_dropped(self) -> _Entry | None:
        dropped = (entry for entry in self._entries.values() if entry.state is State.DROPPED)
        return min(dropped, key=lambda entry: entry.delete_at, default=None)

    async def _delete(self, entry: _Entry) -> None:
        entry.settled = trio.Event()
        self._move(entry, State.DELETING)
        try:
            await trio.to_thread.run_sync(self._files.remove, entry.segment.id)
        except OSError as fault:
            log.error("the files of segment %s cannot be removed: %s", entry.segment.id, fault)
        finally:
            self._leave(entry)
            entry.settled.set()

    # -- the books --------------------------------------------------------------------------------------------------

    def _enter(self, segment: DataSegment, state: State) -> _Entry:
        entry = _Entry(segment, self._files.data_path(segment.id), state)
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
