"""What a term is put together from: its settings, the views it follows, and the planners' input, still empty."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import attrs
import trio

from druidroles.balancer.strategies import RoundRobinStrategy, strategy_named
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.leaders import LeaderView
from druidroles.coordination.load_queue import LoadQueues
from druidroles.coordination.status import StatusView
from druidroles.coordination.tree_view import View
from druidroles.coordinator.cluster.copies import Cluster
from druidroles.coordinator.cluster.departures import Departures, DepartureSettings
from druidroles.coordinator.cluster.load_failures import FailureMemory
from druidroles.coordinator.cluster.timers import Timers
from druidroles.coordinator.cluster.used_segments import UsedSegments
from druidroles.coordinator.duties.kill import KillConfig
from druidroles.coordinator.dynamic_config import DynamicConfig
from druidroles.coordinator.planning.state import PlanningState
from druidroles.rules.rules import Rules


@attrs.frozen(kw_only=True)
class TermSettings:
    """How a leader plans. `balancer` is the name of a strategy."""

    period_s: float = 60.0
    load_timeout_s: float = 900.0
    balancer: str = "cost"
    damping: DepartureSettings = attrs.field(factory=DepartureSettings)
    kill: KillConfig = attrs.field(factory=KillConfig)


@attrs.frozen(kw_only=True)
class Views:
    """What a Coordinator follows, leader or not."""

    inventory: ServerInventory
    statuses: StatusView
    queues: LoadQueues
    overlords: LeaderView

    def all(self) -> tuple[View, ...]:
        """Each of them."""
        return (self.inventory, self.statuses, self.queues, self.overlords)


def make_view(config: TermSettings, now_ms: int) -> PlanningState:
    """The view of a term that begins now."""
    return PlanningState(
        cluster=Cluster(),
        used=UsedSegments(),
        rules=Rules({}),
        failures=FailureMemory(),
        damping=Departures(config.damping),
        timers=Timers(),
        moves=strategy_named(config.balancer, Random()),
        leading_since_ms=now_ms,
    )


def follow_config(view: PlanningState, dynamic: DynamicConfig, config: TermSettings) -> None:
    """Set the limits and strategies that the dynamic configuration asks for."""
    view.limits = dynamic.limits(len(view.used), round(config.load_timeout_s * 1000))
    view.loads = RoundRobinStrategy() if dynamic.round_robin else view.moves


def wall_ms() -> int:
    """The clock that period rules go by."""
    return time.time_ns() // 1_000_000


async def in_slices(steps: Iterator[None]) -> None:
    """Take the steps of a long work, letting others run in between."""
    for _ in steps:
        await trio.lowlevel.checkpoint()
