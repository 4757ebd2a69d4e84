"""What a Coordinator would do now if it led: the plan of a first look, told and not carried out.

Nothing is written: no latch is contended for, no epoch raised, no znode made. Requests that stand in the load queues
count as under way, so beside a working leader the plan is empty but for what that one is just about to order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import trio

from coordserver.client import Client, Term
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.leaders import LeaderView
from druidroles.coordination.load_queue import LoadQueues, LoadQueueWriter
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.status import StatusView
from druidroles.coordinator.dynamic_config import CONFIG_NAME, read_stored
from druidroles.coordinator.loading.load_queue_peon import LoadQueuePeon, monotonic_ms
from druidroles.coordinator.planning.balancing import Balancing
from druidroles.coordinator.planning.decisions import (
    Action,
    CancelDrop,
    CancelLoad,
    DropSegment,
    LoadSegment,
    MoveSegment,
)
from druidroles.coordinator.planning.planner import marking_everything, plan, planning_overshadowed, take_snapshot
from druidroles.coordinator.planning.state import PlanningState
from druidroles.coordinator.settings import TermSettings, Views, follow_config, make_view, wall_ms
from druidroles.coordinator.tree_feed import TreeFeed
from druidroles.metadata import MetadataStore
from druidroles.model.server import NodeRole
from druidroles.rules.rules import Rules

SLICE = 25
_NOBODY = Term(path="", epoch=0, sequence=0)


async def dry_run(zk: Client, paths: DruidPaths, store: MetadataStore, config: TermSettings) -> list[Action]:
    """The actions, in the order in which they would be ordered. Raises MetadataError."""
    views = Views(
        inventory=ServerInventory(zk, paths),
        statuses=StatusView(zk, paths, NodeRole.HISTORICAL),
        queues=LoadQueues(zk, paths),
        overlords=LeaderView(zk, paths.overlord_latch),
    )
    view = make_view(config, monotonic_ms())
    # Orders that stand are taken over in memory; nobody runs the executor, so nothing is ever written.
    executor = LoadQueuePeon(view, views.queues, LoadQueueWriter(zk, paths, _NOBODY), 0)
    picture = TreeFeed(view, views.inventory, views.statuses, executor)
    async with AsyncExitStack() as stack:
        for one in views.all():
            await stack.enter_async_context(one)
        for one in views.all():
            await one.wait_synced()
        picture.build(monotonic_ms())
        read_ms = monotonic_ms() + 1  # begun after everything that was seen was announced
        take_snapshot(view, await store.used_segments(), read_ms)
        stored = await store.rules()
        view.rules = Rules(stored.rules, stored.faults)
        dynamic = read_stored(await store.config(CONFIG_NAME))
        follow_config(view, dynamic, config)
        picture.decommission(dynamic.decommissioning_nodes)
        return [] if dynamic.pause_coordination else await _plan(view)


async def _plan(view: PlanningState) -> list[Action]:
    actions: list[Action] = []
    for _ in marking_everything(view):
        await trio.lowlevel.checkpoint()
    while view.cluster.has_dirt():
        actions += plan(view, monotonic_ms(), wall_ms(), SLICE)
        await trio.lowlevel.checkpoint()
    view.leading_since_ms = monotonic_ms() - view.limits.overshadowed_wait_ms
    actions += [mark for mark in planning_overshadowed(view, monotonic_ms(), wall_ms()) if mark is not None]
    balancing = Balancing(view, Random())
    balancing.stir()
    while balancing.wants(monotonic_ms()):
        actions += balancing.plan(monotonic_ms(), wall_ms(), SLICE)
        await trio.lowlevel.checkpoint()
    return actions


def rows(actions: list[Action]) -> Iterator[dict[str, Any]]:
    """The plan as it is printed."""
    for action in actions:
        match action:
            case LoadSegment(server, segment, primary):
                yield _row("load" if primary else "replicate", server, segment.id)
            case MoveSegment(server, segment, source):
                yield _row("move", server, segment.id, f"from {source}")
            case DropSegment(server, segment):
                yield _row("drop", server, segment.id)
            case CancelLoad(server, segment_id):
                yield _row("cancel load", server, segment_id)
            case CancelDrop(server, segment_id):
                yield _row("cancel drop", server, segment_id)
            case _:
                yield _row("mark unused", "", action.segment_id, action.reason)


def _row(action: str, server: str, segment_id: str, why: str = "") -> dict[str, Any]:
    return {"action": action, "server": server, "segment": segment_id, "why": why}
