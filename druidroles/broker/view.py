"""What a Broker knows of the segments: by datasource a timeline, by segment the servers (Druid's BrokerServerView).

Beyond Druid's it knows what is missing. When the last server of a segment goes, the segment stays in the timeline with
nobody to serve it, so that queries over it fail instead of silently counting less, until the metadata store says that
it is not used any more. That holds for what was served whole: a newer version that never was complete leaves no trace,
and the older one goes on answering. A segment that was published but not yet served is not known here at all.

What a predecessor knew may be remembered: it counts as if its servers had just gone.

A reading of the used segments says nothing of what was first served after the reading began.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from druidroles.coordination.changes import Delta
from druidroles.model.segment import DataSegment
from druidroles.timeline.timeline import VersionedIntervalTimeline


@attrs.define(eq=False)
class ServerSelector:
    """A segment and the servers that announce it. `since` is the view's mark when it was first served."""

    segment: DataSegment
    since: int
    servers: dict[str, None] = attrs.field(factory=dict)


Timeline = VersionedIntervalTimeline[ServerSelector]


class BrokerView:
    """Kept up to date by whoever follows the inventory and the used segments; pure."""

    def __init__(self, note: Callable[[DataSegment, bool], None] | None = None) -> None:
        """`note` is told of each segment that is taken up (True) or forgotten (False)."""
        self._note = note or (lambda segment, known: None)
        self._timelines: dict[str, Timeline] = {}
        self._selectors: dict[str, ServerSelector] = {}
        self._unserved: dict[str, ServerSelector] = {}
        self._mark = 0
        self._used: Collection[str] | None = None
        self._used_mark = -1
        self._suspects: list[str] = []
        self._remembered: list[ServerSelector] = []

    @property
    def mark(self) -> int:
        """Rises with each segment that comes; taken before a reading of the used segments, it dates the reading."""
        return self._mark

    @property
    def unserved(self) -> Mapping[str, ServerSelector]:
        """Segments that were served and are used, as far as is known, and that nobody serves; by id."""
        return self._unserved

    def __len__(self) -> int:
        return len(self._selectors)

    def data_sources(self) -> list[str]:
        """The datasources of which something is known, sorted."""
        return sorted(self._timelines)

    def timeline(self, data_source: str) -> Timeline | None:
        """The timeline of a datasource; not to be changed."""
        return self._timelines.get(data_source)

    def apply(self, deltas: Iterable[Delta[tuple[str, str], DataSegment]]) -> None:
        """Take changes of the inventory: what comes before what goes, so that a move is no absence."""
        for delta in sorted(deltas, key=lambda delta: delta.new is None):
            server, segment_id = delta.key
            if delta.new is not None:
                self.serve(server, delta.new)
            else:
                self.unserve(server, segment_id)

    def serve(self, server: str, segment: DataSegment) -> None:
        """A server announces a segment."""
        selector = self._selectors.get(segment.id)
        if selector is None:
            self._mark += 1
            selector = self._take_up(segment, self._mark)
            self._note(segment, True)
        elif not selector.servers:
            selector.segment = segment  # what was remembered is not all there is to know
        selector.servers[server] = None
        if self._unserved:
            self._unserved.pop(segment.id, None)

    def _take_up(self, segment: DataSegment, since: int) -> ServerSelector:
        selector = self._selectors[segment.id] = ServerSelector(segment, since)
        timeline = self._timelines.get(segment.data_source)
        if timeline is None:
            timeline = self._timelines[segment.data_source] = Timeline()
        timeline.add(segment.interval, segment.version, segment.shard_spec, selector)
        return selector

    def remember(self, segments: Iterable[DataSegment]) -> None:
        """Segments that a predecessor knew. Those that are not served count after `settle`, before any reading."""
        for segment in segments:
            if segment.id not in self._selectors:
                self._remembered.append(self._take_up(segment, 0))

    def settle(self, at_most: int) -> bool:
        """Judge so many of the remembered segments, once all that is served has been told; whether there are more."""
        for selector in self._remembered[-at_most:]:
            if not selector.servers and selector.segment.id in self._selectors:
                self._keep_or_forget(selector)
        del self._remembered[-at_most:]
        return bool(self._remembered)

    def segments(self) -> list[DataSegment]:
        """All that is known, served or not."""
        return [selector.segment for selector in self._selectors.values()]

    def unserve(self, server: str, segment_id: str) -> None:
        """A server does not announce a segment any more."""
        selector = self._selectors.get(segment_id)
        if selector is None:
            return
        selector.servers.pop(server, None)
        if not selector.servers:
            self._keep_or_forget(selector)

    def _keep_or_forget(self, selector: ServerSelector) -> None:
        """Nobody serves it: keep it as missing where it was served whole, and may be used."""
        segment = selector.segment
        partitions = self._timelines[segment.data_source].partitions(segment.interval, segment.version)
        if partitions is not None and partitions.complete and not self._is_unused(selector):
            self._unserved[segment.id] = selector
        else:
            self._forget(selector)

    def set_used(self, ids: Collection[str], mark: int) -> None:
        """The ids of all used segments, read from the metadata store when `self.mark` was `mark`.

        What of the unserved segments is not used is forgotten by `forget_unused`.
        """
        self._used, self._used_mark = ids, mark
        self._suspects = list(self._unserved)

    def forget_unused(self, at_most: int) -> bool:
        """Forget what is neither served nor used, looking at so many segments; whether there are more to look at."""
        for segment_id in self._suspects[-at_most:]:
            selector = self._unserved.get(segment_id)
            if selector is not None and self._is_unused(selector):
                self._forget(selector)
        del self._suspects[-at_most:]
        return bool(self._suspects)

    def _is_unused(self, selector: ServerSelector) -> bool:
        return self._used is not None and selector.since <= self._used_mark and selector.segment.id not in self._used

    def _forget(self, selector: ServerSelector) -> None:
        segment = selector.segment
        if self._selectors.pop(segment.id, None) is None:
            return
        self._unserved.pop(segment.id, None)
        self._note(segment, False)
        timeline = self._timelines[segment.data_source]
        timeline.remove(segment.interval, segment.version, segment.partition_num)
        partitions = timeline.partitions(segment.interval, segment.version)
        if partitions is not None and not partitions.complete:
            # What is left of the set does not answer any more. Were unserved parts of it kept, the set would count
            # again as soon as the others are served, without ever having been served whole.
            for chunk in partitions.chunks():
                if not chunk.value.servers:
                    self._forget(chunk.value)
        if not len(timeline):
            self._timelines.pop(segment.data_source, None)
