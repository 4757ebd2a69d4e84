"""What a query asks for: the pieces of segments that show in its intervals."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from druidroles.broker.view import BrokerView, ServerSelector
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.model import Query

_TOMBSTONE = "tombstone"  # a segment that holds no data, only hides older versions


@attrs.frozen(eq=False)
class Piece:
    """A piece of a segment, and who serves it. `selector` None: a query named it, and nobody ever served it."""

    descriptor: SegmentDescriptor
    selector: ServerSelector | None


def plan(query: Query, view: BrokerView) -> list[Piece]:
    """The pieces of a query, by time. An unknown datasource has none."""
    return list(_named(query, view) if query.segments is not None else _visible(query, view))


def _visible(query: Query, view: BrokerView) -> Iterator[Piece]:
    timeline = view.timeline(query.data_source)
    if timeline is None:
        return
    for interval in query.intervals:
        for holder in timeline.lookup(interval):
            for chunk in holder.chunks:
                if chunk.spec.type != _TOMBSTONE:
                    descriptor = SegmentDescriptor(holder.interval, holder.version, chunk.spec.partition_num)
                    yield Piece(descriptor, chunk.value)


def _named(query: Query, view: BrokerView) -> Iterator[Piece]:
    timeline = view.timeline(query.data_source)
    for descriptor in dict.fromkeys(query.segments or ()):
        chunk = None
        if timeline is not None:
            chunk = timeline.find_chunk(descriptor.interval, descriptor.version, descriptor.partition)
        yield Piece(descriptor, None if chunk is None else chunk.value)
