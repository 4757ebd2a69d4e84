"""How much of what is used can be queried, as `/loadstatus` tells it: segments without a copy, and copies wanting."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import trio

from druidroles.coordinator.planning.planner import verdict_of
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.segment import DataSegment

SLICE = 200  # segments between two checkpoints


@attrs.define
class LoadStatus:
    """By datasource: segments that should be loaded, and those of them without a copy; by tier, copies wanting."""

    wanted: dict[str, int] = attrs.field(factory=dict)
    unavailable: dict[str, int] = attrs.field(factory=dict)
    under_replicated: dict[str, dict[str, int]] = attrs.field(factory=dict)

    def percent(self, data_source: str) -> float:
        """How many in a hundred of the datasource's segments have a copy."""
        wanted = self.wanted[data_source]
        return 100.0 * (wanted - self.unavailable[data_source]) / wanted if wanted else 100.0

    def count(self, view: PlanningState, segment: DataSegment, wall_ms: int) -> None:
        """Count one used segment. Overshadowed ones and those kept in deep storage only are not missed."""
        name = segment.data_source
        self.wanted.setdefault(name, 0)
        self.unavailable.setdefault(name, 0)
        verdict = verdict_of(view, segment, wall_ms)
        if verdict is None or verdict.drop or not (verdict.broadcast or any(verdict.replicas.values())):
            return
        self.wanted[name] += 1
        if not view.cluster.copies(segment.id):
            self.unavailable[name] += 1
        for tier, required in verdict.replicas.items():
            held = sum(1 for s in view.cluster.holders(segment.id) if s.tier == tier and segment.id in s.served)
            of_tier = self.under_replicated.setdefault(tier, {})
            of_tier[name] = of_tier.get(name, 0) + max(required - held, 0)


async def load_status(view: PlanningState, segments: Iterable[DataSegment], wall_ms: int) -> LoadStatus:
    """The status over some used segments."""
    status = LoadStatus()
    for index, segment in enumerate(list(segments)):
        if index % SLICE == 0:
            await trio.lowlevel.checkpoint()
        status.count(view, segment, wall_ms)
    return status
