"""What the planners decide. Values only: an executor carries them out, a dry run prints them."""

from __future__ import annotations

import attrs

from druidroles.model.segment import DataSegment


@attrs.frozen
class LoadSegment:
    """Order a server to load a segment. `primary`: no copy is held anywhere, so it goes before all others."""

    server: str
    segment: DataSegment
    primary: bool


@attrs.frozen
class MoveSegment:
    """Order a server to load a segment that `source` serves, which is to drop it once this one serves it."""

    server: str
    segment: DataSegment
    source: str


@attrs.frozen
class DropSegment:
    """Order a server to drop a segment it serves."""

    server: str
    segment: DataSegment


@attrs.frozen
class CancelLoad:
    """Take back a load that the server has not started."""

    server: str
    segment_id: str


@attrs.frozen
class CancelDrop:
    """Take back a drop that the server has not started."""

    server: str
    segment_id: str


@attrs.frozen
class MarkUnused:
    """Mark a segment unused in the metadata store, and why."""

    segment_id: str
    reason: str


Action = LoadSegment | MoveSegment | DropSegment | CancelLoad | CancelDrop | MarkUnused
