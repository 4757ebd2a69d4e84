"""What a query asks for: the pieces of segments that show in its intervals."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import trio

from druidroles.broker.view import BrokerView, ServerSelector
from druidroles.model.interval import Interval
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.model import Query
from druidroles.timeline.timeline import TimelineHolder

HOLDERS_AT_ONCE = 500  # a few milliseconds
_TOMBSTONE = "tombstone"  # a segment that holds no data, only hides older versions


@attrs.frozen(eq=False)
class Piece:
    """A piece of a segment, and who serves it. `selector` None: a query named it, and nobody ever served it."""

    descriptor: SegmentDescriptor
    selector: ServerSelector | None


async def plan(query: Query, view: BrokerView) -> list[Piece]:
    """The pieces of a query, by time. An unknown datasource has none.

    What a query asks of tens of thousands of segments is looked up some at a time, while others run. A version may
    change in between; each piece is what showed there when it was looked up.
    """
    if query.segments is not None:
        return list(_named(query, view))
    pieces: list[Piece] = []
    for interval in query.intervals:
        start = interval.start_ms
        while True:
            timeline = view.timeline(query.data_source)
            rest = Interval(start, interval.end_ms)
            holders = timeline.lookup(rest, HOLDERS_AT_ONCE) if timeline is not None else []
            pieces.extend(piece for holder in holders for piece in _of(holder))
            if len(holders) < HOLDERS_AT_ONCE:
                break
            start = holders[-1].interval.end_ms
            await trio.lowlevel.checkpoint()
    return pieces


def _of(holder: TimelineHolder[ServerSelector]) -> Iterator[Piece]:
    for chunk in holder.chunks:
        if chunk.spec.type != _TOMBSTONE:
            yield Piece(SegmentDescriptor(holder.interval, holder.version, chunk.spec.partition_num), chunk.value)


def _named(query: Query, view: BrokerView) -> Iterator[Piece]:
    timeline = view.timeline(query.data_source)
    for descriptor in dict.fromkeys(query.segments or ()):
        chunk = None
        if timeline is not None:
            chunk = timeline.find_chunk(descriptor.interval, descriptor.version, descriptor.partition)
        yield Piece(descriptor, None if chunk is None else chunk.value)
