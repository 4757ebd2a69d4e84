"""Load-queue entries: load, drop or noop, with the segment's own fields inlined beside `action`
(DataSegmentChangeRequest).

`coord` is ours, a key that Druid's mapper ignores: it marks a request of our Coordinator with the writer's epoch and
the number of the attempt. A Historical may set data on such a request (start, failure); on one without the key it
must not, because Druid's Coordinator waits for the deletion with a one-shot watch that any change would spend.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import attrs

from druidroles.model.decode import ModelError, as_object, get_int, get_object, need_int, need_str, opt_str
from druidroles.model.segment import DataSegment


class Action(Enum):
    """What to do."""

    LOAD = "load"
    DROP = "drop"
    NOOP = "noop"


@attrs.frozen
class CoordMark:
    """Ours: who asked, and since it was started, when, and with what end. Times in wall-clock milliseconds."""

    epoch: int
    attempt: int = 1
    started_ms: int | None = None
    failure: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> CoordMark:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "coord")
        started = get_int(obj, "started", -1)
        return cls(
            need_int(obj, "epoch"),
            get_int(obj, "attempt", 1),
            None if started < 0 else started,
            opt_str(obj, "failure"),
        )

    def to_json(self) -> dict[str, Any]:
        """The object, without what is not there yet."""
        out: dict[str, Any] = {"epoch": self.epoch, "attempt": self.attempt}
        if self.started_ms is not None:
            out["started"] = self.started_ms
        if self.failure is not None:
            out["failure"] = self.failure
        return out


@attrs.frozen
class ChangeRequest:
    """One entry of a load queue. `segment` is None for a noop only."""

    action: Action
    segment: DataSegment | None = None
    coord: CoordMark | None = None

    @property
    def id(self) -> str:
        """The segment's id, which is the znode's name; empty for a noop."""
        return "" if self.segment is None else self.segment.id

    @classmethod
    def load(cls, segment: DataSegment, coord: CoordMark | None = None) -> ChangeRequest:
        """A request to load."""
        return cls(Action.LOAD, segment, coord)

    @classmethod
    def drop(cls, segment: DataSegment, coord: CoordMark | None = None) -> ChangeRequest:
        """A request to drop."""
        return cls(Action.DROP, segment, coord)

    @classmethod
    def from_json(cls, value: Any) -> ChangeRequest:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "change request")
        text = need_str(obj, "action")
        try:
            action = Action(text)
        except ValueError:
            raise ModelError(f"action {text!r} is not load, drop or noop") from None
        mark = get_object(obj, "coord")
        coord = None if mark is None else CoordMark.from_json(mark)
        return cls(action, None if action is Action.NOOP else DataSegment.from_json(obj), coord)

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it, with our key last."""
        out: dict[str, Any] = {"action": self.action.value}
        if self.segment is not None:
            out.update(self.segment.to_json())
        if self.coord is not None:
            out["coord"] = self.coord.to_json()
        return out
