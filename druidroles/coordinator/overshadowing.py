"""Which used segments may be marked unused because newer ones that are really served cover them.

What only tasks serve, or nobody, may yet vanish, and then the older data would be all there is. So a segment that is
not served stands in as a partition that completes nothing: it can be overshadowed and overshadows nothing.
"""

from __future__ import annotations

import attrs

from druidroles.coordinator.view import ClusterView
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.timeline.overshadow import overshadowed

_COMPLETES_NOTHING = numbered(2**31 - 1, 2)


def overshadowed_by_served(view: ClusterView, wall_ms: int) -> set[str]:
    """The ids of used segments that segments served by Historicals, or kept in deep storage only, overshadow."""
    found: set[str] = set()
    for data_source in {segment.data_source for segment in view.used.overshadowed()}:
        stand_ins: dict[str, str] = {}
        standing: list[DataSegment] = []
        for segment in view.used.of_data_source(data_source):
            if view.cluster.copies(segment.id) or _is_deep_storage_only(view, segment, wall_ms):
                standing.append(segment)
            elif view.used.is_overshadowed(segment):
                stand_in = attrs.evolve(segment, shard_spec=_COMPLETES_NOTHING)
                stand_ins[stand_in.id] = segment.id
                standing.append(stand_in)
        found |= {stand_ins.get(segment_id, segment_id) for segment_id in overshadowed(standing)}
    return found


def _is_deep_storage_only(view: ClusterView, segment: DataSegment, wall_ms: int) -> bool:
    verdict = view.rules.verdict(segment, wall_ms)
    return verdict is not None and not verdict.drop and not verdict.broadcast and not any(verdict.replicas.values())
