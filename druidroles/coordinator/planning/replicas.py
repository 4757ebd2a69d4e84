"""From the copies that a rule wants to the orders that bring them about (Druid's StrategicSegmentAssigner).

Per tier, projected = serving (and not about to drop) + loading; a copy that moves counts once, where it is served.
Too few: take back drops, then load where there is room. Too many: take back loads, then drop, but never more over the
whole cluster than there are surplus copies *served*; so a segment whose rule names another tier is dropped from the old
one only when the new one serves it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import attrs

from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.planning.decisions import Action, CancelDrop, CancelLoad, DropSegment, LoadSegment
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.names import name_fault
from druidroles.model.segment import DataSegment


@attrs.define
class TierCopies:
    """Where the copies of one segment are, in one tier."""

    serving: list[Server] = attrs.field(factory=list)
    loading: list[Server] = attrs.field(factory=list)
    moving: list[Server] = attrs.field(factory=list)  # targets of moves
    dropping: list[Server] = attrs.field(factory=list)


def copies_by_tier(view: PlanningState, segment_id: str) -> dict[str, TierCopies]:
    """The copies of a segment and those on their way, by tier."""
    tiers: dict[str, TierCopies] = {}
    for server in view.cluster.holders(segment_id):
        copies = tiers.setdefault(server.tier, TierCopies())
        if segment_id in server.dropping:
            copies.dropping.append(server)
        elif segment_id in server.served:
            copies.serving.append(server)
        elif view.cluster.is_move(server, segment_id):
            copies.moving.append(server)
        elif not server.loading[segment_id].late:
            copies.loading.append(server)
    return tiers


def refusal(view: PlanningState, server: Server, segment: DataSegment, now_ms: int) -> str | None:
    """Why a server may not be told to load a segment now; None if it may be (Druid's ServerHolder.canLoadSegment).

    Ours beside Druid's reasons: it has said that it stops, or it failed at the segment a short while ago.
    """
    fault = name_fault(segment.id)
    if fault is not None:
        return f"no load queue can hold a request for it: its id {fault}"
    if server.decommissioning:
        return "it is decommissioning"
    if server.stopping:
        return "it is stopping"
    if segment.id in server.dropping:
        return "it is dropping the segment"
    if segment.id in server.served:
        return "it serves the segment already"
    if segment.id in server.loading:
        return "it is loading the segment already"
    if server.free_bytes < segment.size:
        return f"it is full: {max(server.free_bytes, 0)} of {server.max_size} bytes are free, {segment.size} are needed"
    if 0 < view.limits.queue_length <= len(server.loading):
        return f"its load queue is full: {len(server.loading)} segments, the limit is {view.limits.queue_length}"
    if view.failures.blocked_until(segment.id, server.name) > now_ms:
        return "it failed to load the segment a short while ago"
    return None


def eligible(view: PlanningState, segment: DataSegment, tier: str, now_ms: int) -> list[Server]:
    """The servers of a tier that may be told to load the segment: those without a `refusal`, found in a hurry."""
    segment_id, size, limit = segment.id, segment.size, view.limits.queue_length
    if name_fault(segment_id) is not None:
        return []
    failed = view.failures.of_segment(segment_id)
    found = [
        server
        for server in view.cluster.tier(tier)
        if not (server.decommissioning or server.stopping)
        and segment_id not in server.served
        and segment_id not in server.loading
        and server.max_size - server.served_bytes - server.loading_bytes + server.dropping_bytes >= size
        and (limit == 0 or len(server.loading) < limit)
    ]
    return [s for s in found if s.name not in failed or failed[s.name].until_ms <= now_ms] if failed else found


def can_drop(view: PlanningState, server: Server, segment_id: str, now_ms: int) -> bool:
    """Whether a server may be told now to drop a segment: not while it pauses after it failed to, and not if no load
    queue can hold the request.
    """
    until_ms = view.failures.blocked_until(segment_id, server.name)
    if until_ms > now_ms:
        view.timers.wake(segment_id, until_ms)
        return False
    return name_fault(segment_id) is None


def plan_first_copy(
    view: PlanningState, segment: DataSegment, required: Mapping[str, int], now_ms: int
) -> list[LoadSegment]:
    """One load of a segment that nobody holds, in the first of its tiers that has room; entered in the view."""
    if any(True for _ in view.cluster.holders(segment.id)):
        return []
    for tier, count in required.items():
        server = view.loads.for_load(segment, eligible(view, segment, tier, now_ms)) if count > 0 else None
        if server is not None:
            view.cluster.begin_load(server, segment, primary=True)
            return [LoadSegment(server.name, segment, primary=True)]
    return []


def plan_replicas(view: PlanningState, segment: DataSegment, required: Mapping[str, int], now_ms: int) -> list[Action]:
    """The orders that bring the copies of one segment to what its rule wants, entered in the view."""
    tiers = copies_by_tier(view, segment.id)
    actions: list[Action] = []
    held = sum(len(t.serving) + len(t.loading) for t in tiers.values())
    for tier, count in required.items():
        copies = tiers.setdefault(tier, TierCopies())
        kept = _take_back_drops(view, segment, copies, count - len(copies.serving) - len(copies.loading))
        held += len(kept)
        loads = _load(view, segment, tier, count - len(copies.serving) - len(copies.loading), held, now_ms)
        held += len(loads)
        actions += kept
        actions += loads
    actions += _reduce(view, segment, tiers, required, now_ms)
    return actions


def _take_back_drops(view: PlanningState, segment: DataSegment, copies: TierCopies, count: int) -> list[CancelDrop]:
    """Keep up to `count` copies that were about to go, as far as the servers have not begun."""
    actions: list[CancelDrop] = []
    for server in list(copies.dropping):
        if len(actions) < count and not server.dropping[segment.id]:
            view.cluster.end_drop(server, segment.id)
            copies.dropping.remove(server)
            copies.serving.append(server)
            actions.append(CancelDrop(server.name, segment.id))
    return actions


def _load(
    view: PlanningState, segment: DataSegment, tier: str, count: int, held: int, now_ms: int
) -> list[LoadSegment]:
    """Order up to `count` loads in a tier, the first of them primary where no copy is held yet."""
    orders: list[LoadSegment] = []
    while len(orders) < count:
        primary = held + len(orders) == 0
        if not primary and _must_wait(view, segment.id, tier, now_ms):
            break
        server = view.loads.for_load(segment, eligible(view, segment, tier, now_ms))
        if server is None:
            _note_unplaced(view, segment, tier, now_ms)
            break
        view.cluster.begin_load(server, segment, primary=primary)
        orders.append(LoadSegment(server.name, segment, primary))
    return orders


def _must_wait(view: PlanningState, segment_id: str, tier: str, now_ms: int) -> bool:
    """True while a further replica is held back: by the grace after a departure, or by the limit of those in flight."""
    until_ms = view.damping.held_until(segment_id, now_ms)
    if until_ms:
        view.timers.wake(segment_id, until_ms)
        return True
    if view.cluster.replicas_in_flight.get(tier, 0) >= view.limits.replicas_in_flight:
        view.throttled.setdefault(tier, OrderedDict())[segment_id] = None
        return True
    return False


def _note_unplaced(view: PlanningState, segment: DataSegment, tier: str, now_ms: int) -> None:
    """No server will have it now: remember that, and come back when a pause after a failure ends."""
    view.unplaced[segment.id] = tier
    pauses = [view.failures.blocked_until(segment.id, server.name) for server in view.cluster.tier(tier)]
    over_ms = min((p for p in pauses if p > now_ms), default=None)
    if over_ms is not None:
        view.timers.wake(segment.id, over_ms)


def _reduce(
    view: PlanningState,
    segment: DataSegment,
    tiers: Mapping[str, TierCopies],
    required: Mapping[str, int],
    now_ms: int,
) -> list[Action]:
    """Take back moves and loads, and drop copies, that are too many."""
    actions: list[Action] = []
    may_drop = sum(len(t.serving) for t in tiers.values()) - sum(required.values())
    for tier, copies in tiers.items():
        surplus = len(copies.serving) + len(copies.loading) - required.get(tier, 0)
        if surplus > 0 or not required.get(tier, 0):
            actions += _cancel_moves(view, segment, copies)
        for server in copies.loading:
            if surplus > 0 and not server.loading[segment.id].started:
                view.cluster.end_load(server, segment.id)
                actions.append(CancelLoad(server.name, segment.id))
                surplus -= 1
        # What has moved has its successor already, whatever other tiers lack.
        moved = sum(1 for s in copies.serving if s.leaving.get(segment.id) in {other.name for other in copies.serving})
        drops = min(len(copies.serving) - required.get(tier, 0), max(may_drop, moved))
        ranked = sorted(copies.serving, key=lambda s: _drop_rank(s, segment.id)) if drops > 0 else []
        for server in [s for s in ranked if can_drop(view, s, segment.id, now_ms)][: max(drops, 0)]:
            view.cluster.begin_drop(server, segment.id)
            actions.append(DropSegment(server.name, segment))
            may_drop -= 1
        for server in copies.serving:
            if segment.id in server.leaving and not copies.moving and segment.id not in server.dropping:
                view.cluster.end_leaving(server, segment.id)  # it is wanted here after all
    return actions


def _drop_rank(server: Server, segment_id: str) -> tuple[bool, bool, float]:
    """What goes first: copies on decommissioning servers, then those that have moved, then those on the fullest."""
    return (not server.decommissioning, segment_id not in server.leaving, -server.fill)


def _cancel_moves(view: PlanningState, segment: DataSegment, copies: TierCopies) -> list[CancelLoad]:
    actions: list[CancelLoad] = []
    for server in list(copies.moving):
        if not server.loading[segment.id].started:
            view.cluster.end_load(server, segment.id)
            copies.moving.remove(server)
            actions.append(CancelLoad(server.name, segment.id))
    return actions
