"""The duties that follow every event, as one pure function: view and time in, actions out.

The order is the promise: segments of which no server holds a copy come before everything else, so one large datasource
waiting for its second replicas never delays the first copy of another. Each marked segment meets one of these ends:

* not used: loads are taken back and copies dropped, unless the metadata was read before the copy was announced (then it
  may have been published since; the next read decides);
* used but overshadowed: it is not loaded any further, and what serves it goes on until it is marked unused;
* its rule drops it: it is marked unused;
* its rule loads it: see replicas.py; its rule broadcasts it: one copy on every server;
* no rule applies: nothing is done, and the operator is told (Druid raises an alert).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from druidroles.coordinator.planning.decisions import Action, CancelLoad, DropSegment, LoadSegment, MarkUnused
from druidroles.coordinator.planning.overshadowing import is_overshadowed_by_served
from druidroles.coordinator.planning.replicas import can_drop, plan_first_copy, plan_replicas
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.segment import DataSegment
from druidroles.rules.verdict import Verdict

MARKED_PER_SLICE = 1_000
UNPLACED_PER_CHANGE = 200  # of those that found no room, how many are tried again when room appears


def plan(view: PlanningState, now_ms: int, wall_ms: int, limit: int = 1_000_000) -> list[Action]:
    """What to do about the marked segments, at most `limit` of them; call again while `view.cluster.has_dirt()`.

    `now_ms` is the monotonic clock that all graces are measured with, `wall_ms` the one that period rules go by.
    """
    actions: list[Action] = []
    seen = 0
    for segment_id in view.cluster.take_urgent(limit):
        actions += _first_copy(view, segment_id, now_ms, wall_ms)
        seen += 1
    for segment_id in view.cluster.take_dirty(limit - seen):
        actions += plan_segment(view, segment_id, now_ms, wall_ms)
    return actions


def _first_copy(view: PlanningState, segment_id: str, now_ms: int, wall_ms: int) -> list[LoadSegment]:
    segment = view.used.get(segment_id)
    if segment is None or view.used.is_overshadowed(segment):
        return []
    verdict = view.rules.verdict(segment, wall_ms)
    if verdict is None or verdict.drop:
        return []
    return plan_first_copy(view, segment, verdict.replicas, now_ms)


def plan_segment(view: PlanningState, segment_id: str, now_ms: int, wall_ms: int) -> list[Action]:
    """What to do about one segment."""
    view.unplaced.pop(segment_id, None)
    view.without_rule.pop(segment_id, None)
    segment = view.used.get(segment_id)
    verdict = None if segment is None else verdict_of(view, segment, wall_ms)
    if verdict is None or verdict.drop:
        view.wanting.satisfied(segment_id)
    if segment is None:
        return _unload(view, segment_id, now_ms)
    if view.used.is_overshadowed(segment):
        return list(_cancel_loads(view, segment_id))
    if verdict is None:
        view.without_rule[segment_id] = None
        return []
    if verdict.until_ms is not None:
        view.timers.wake(segment_id, now_ms + max(verdict.until_ms - wall_ms, 0))
    if verdict.drop:
        return [*_cancel_loads(view, segment_id), MarkUnused(segment_id, "a rule drops it")]
    required = broadcast_replicas(view) if verdict.broadcast else verdict.replicas
    actions = plan_replicas(view, segment, required, now_ms)
    _note_wanting(view, segment, required, now_ms)
    return actions


def _note_wanting(view: PlanningState, segment: DataSegment, required: Mapping[str, int], now_ms: int) -> None:
    served: dict[str, int] = {}
    for server in view.cluster.holders(segment.id):
        if segment.id in server.served and segment.id not in server.dropping:
            served[server.tier] = served.get(server.tier, 0) + 1
    missing = {tier: count - served.get(tier, 0) for tier, count in required.items() if count > served.get(tier, 0)}
    view.wanting.note(segment.id, segment.data_source, missing, bool(missing) and not served, now_ms)


def _cancel_loads(view: PlanningState, segment_id: str) -> Iterator[CancelLoad]:
    for server in list(view.cluster.holders(segment_id)):
        order = server.loading.get(segment_id)
        if order is not None and not order.started:
            view.cluster.end_load(server, segment_id)
            yield CancelLoad(server.name, segment_id)


def _unload(view: PlanningState, segment_id: str, now_ms: int) -> list[Action]:
    """Drop every copy of a segment that is not used (Druid's UnloadUnusedSegments)."""
    read_ms = view.used.read_ms
    if read_ms is None or read_ms <= view.cluster.announced_ms(segment_id):
        view.awaiting_read[segment_id] = None
        return []
    actions: list[Action] = list(_cancel_loads(view, segment_id))
    for server in list(view.cluster.holders(segment_id)):
        if segment_id not in server.served or segment_id in server.dropping:
            continue
        if can_drop(view, server, segment_id, now_ms):
            view.cluster.begin_drop(server, segment_id)
            actions.append(DropSegment(server.name, server.served[segment_id]))
    return actions


def broadcast_replicas(view: PlanningState) -> dict[str, int]:
    """A copy on every replicating server that is to stay, by tier."""
    staying = {tier: [s for s in view.cluster.tier(tier) if not s.decommissioning] for tier in view.cluster.tiers()}
    return {tier: len(servers) for tier, servers in staying.items()}


def release_throttled(view: PlanningState) -> None:
    """Mark replicas that waited for others to finish, as many as may now be in flight."""
    for tier, waiting in view.throttled.items():
        room = view.limits.replicas_in_flight - view.cluster.replicas_in_flight.get(tier, 0)
        for segment_id in list(islice(waiting, max(room, 0))):
            del waiting[segment_id]
            view.cluster.mark(segment_id)


def release_unplaced(view: PlanningState, tier: str) -> None:
    """Room appeared in a tier: mark some of the segments that found none there."""
    waiting = (segment_id for segment_id, wanted in view.unplaced.items() if wanted == tier)
    for segment_id in list(islice(waiting, UNPLACED_PER_CHANGE)):
        del view.unplaced[segment_id]
        view.cluster.mark(segment_id)


def take_snapshot(view: PlanningState, segments: Iterable[DataSegment], read_ms: int) -> None:
    """A new read of the used segments, begun at `read_ms`: mark what changed and what waited for a newer read."""
    mark(view, view.used.replace(segments, read_ms))
    mark(view, take_awaiting(view))


def take_awaiting(view: PlanningState) -> list[str]:
    """What waited for a newer read, which has come."""
    waiting = list(view.awaiting_read)
    view.awaiting_read.clear()
    return waiting


def mark(view: PlanningState, segment_ids: Iterable[str]) -> None:
    """Mark some segments."""
    for _ in marking(view, segment_ids):
        pass


def marking(view: PlanningState, segment_ids: Iterable[str]) -> Iterator[None]:
    """The same in slices of about a millisecond."""
    for index, segment_id in enumerate(segment_ids):
        view.cluster.mark(segment_id)
        if index % MARKED_PER_SLICE == MARKED_PER_SLICE - 1:
            yield


def marking_everything(view: PlanningState) -> Iterator[None]:
    """Mark every segment used or held: for a new leader, for new rules, and as the safety net of each period."""
    yield from marking(view, list(view.used.by_id))
    yield from marking(view, list(view.cluster.segment_ids()))


def planning_overshadowed(view: PlanningState, now_ms: int, wall_ms: int) -> Iterator[MarkUnused | None]:
    """Mark overshadowed segments unused (Druid's MarkOvershadowedSegmentsAsUnused), one look at a time.

    Only after 15 minutes of leadership, and only those that segments *actually served* by Historicals overshadow: what
    only tasks serve may yet vanish with them.
    """
    if now_ms - view.leading_since_ms < view.limits.overshadowed_wait_ms:
        return
    for segment in view.used.overshadowed():
        served = is_overshadowed_by_served(view, segment, wall_ms)
        yield MarkUnused(segment.id, "newer segments overshadow it") if served else None


def verdict_of(view: PlanningState, segment: DataSegment, wall_ms: int) -> Verdict | None:
    """The verdict on a segment, None also where it is overshadowed: what loadstatus counts."""
    return None if view.used.is_overshadowed(segment) else view.rules.verdict(segment, wall_ms)
