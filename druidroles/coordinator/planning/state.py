"""Everything that the planners read, in one object, and the limits that bind them."""

from __future__ import annotations

from typing import Protocol

import attrs

from druidroles.balancer.strategies import BalancerStrategy, CostStrategy, RoundRobinStrategy
from druidroles.coordinator.cluster.copies import Cluster
from druidroles.coordinator.cluster.departures import Departures
from druidroles.coordinator.cluster.load_failures import FailureMemory
from druidroles.coordinator.cluster.timers import Timers
from druidroles.coordinator.cluster.under_replication import Wanting
from druidroles.coordinator.cluster.used_segments import UsedSegments
from druidroles.model.segment import DataSegment
from druidroles.rules.verdict import Verdict


class Verdicts(Protocol):
    """The rules, as far as the planners need them."""

    def verdict(self, segment: DataSegment, wall_ms: int) -> Verdict | None:
        """What is to become of a segment at this instant of wall-clock time; None if no rule applies to it."""
        ...


@attrs.frozen(kw_only=True)
class PlanningLimits:
    """What Druid limits per run is limited here by what is in flight."""

    replicas_in_flight: int = 500  # per tier, loads beyond a first copy (replicationThrottleLimit)
    moves_in_flight: int = 100  # per tier (maxSegmentsToMove)
    queue_length: int = 0  # loads a server may have before it, 0 for any (maxSegmentsInNodeLoadingQueue)
    load_timeout_ms: int = 900_000  # before a load that does not end counts as failed (druid.coordinator.load.timeout)
    replicate_late: bool = False  # load on another server what was begun and is late (replicateAfterLoadTimeout)
    overshadowed_wait_ms: int = 900_000  # leadership before overshadowed segments are marked unused (15 min)


@attrs.define(eq=False, kw_only=True)
class PlanningState:
    """The planners' input. Decisions are entered in `cluster` as they are made (see cluster.py)."""

    cluster: Cluster
    used: UsedSegments
    rules: Verdicts
    failures: FailureMemory
    damping: Departures
    timers: Timers
    limits: PlanningLimits = attrs.field(factory=PlanningLimits)
    loads: BalancerStrategy = attrs.field(factory=RoundRobinStrategy)  # where loads go
    moves: BalancerStrategy = attrs.field(factory=CostStrategy)  # where segments had better be
    wanting: Wanting = attrs.field(factory=Wanting)
    leading_since_ms: int = 0
    without_rule: dict[str, None] = attrs.field(factory=dict)  # used segments that no rule applies to
    unplaced: dict[str, str] = attrs.field(factory=dict)  # segment id -> the tier that has no room for another copy
    awaiting_read: dict[str, None] = attrs.field(factory=dict)  # served, unused as of an older read
    throttled: dict[str, dict[str, None]] = attrs.field(factory=dict)  # tier -> replicas that wait for others to finish
