"""Which used segments may be marked unused because newer ones that are really served cover them.

What only tasks serve, or nobody, may yet vanish, and then the older data would be all there is. So only what
Historicals serve, and what is kept in deep storage only, counts as covering.
"""

from __future__ import annotations

from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.segment import DataSegment


def is_overshadowed_by_served(view: PlanningState, segment: DataSegment, wall_ms: int) -> bool:
    """Whether segments served by Historicals, or kept in deep storage only, overshadow a used segment."""

    def counts(segment_id: str) -> bool:
        other = view.used.get(segment_id)
        return bool(view.cluster.copies(segment_id)) or (
            other is not None and _is_deep_storage_only(view, other, wall_ms)
        )

    return view.used.is_covered(segment, counts)


def _is_deep_storage_only(view: PlanningState, segment: DataSegment, wall_ms: int) -> bool:
    verdict = view.rules.verdict(segment, wall_ms)
    return verdict is not None and not verdict.drop and not verdict.broadcast and not any(verdict.replicas.values())
