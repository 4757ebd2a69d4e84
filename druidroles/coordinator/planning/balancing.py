"""Moving segments to better servers: off decommissioning ones first, then wherever the strategy sees a gain.

A tier is *stirred* by whatever may have made its placement worse: a server came or went, many copies did, the
configuration changed. A stirred tier is looked through in random order until nothing has been found for a while, and
over again as long as something was; then it is settled and costs nothing. Each move of the cost strategy lowers the sum
of all costs, so every tier settles.

Only copies that are wanted where they are, and of which nothing is on its way, are moved; and none in a tier that has
just lost a large part of its servers, or, unless a server is to be emptied, has as many loads before it as it may have
moves: where copies are wanting, they come first, and what is moved before they have come is soon moved again.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from random import Random

import attrs

from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.planning.decisions import MoveSegment
from druidroles.coordinator.planning.planner import verdict_of
from druidroles.coordinator.planning.replicas import eligible
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.segment import DataSegment

PATIENCE = 1_000  # copies in a row that are best where they are before a tier counts as settled
COMPARED = 8  # servers, half of them the emptiest, half drawn: the best of few is nearly the best of all
STIR_PART = 0.01  # of a tier's copies that came or went


@attrs.define
class _Round:
    """One look through a tier. `urgent` are the copies on decommissioning servers, the last first, as in `copies`."""

    urgent: list[tuple[str, str]]
    copies: list[tuple[str, str]]
    in_vain: int = 0
    moved: bool = False

    def next(self) -> tuple[str, str] | None:
        """The next server and segment to look at."""
        if self.urgent:
            return self.urgent.pop()
        return self.copies.pop() if self.copies and self.in_vain < PATIENCE else None


class Balancing:
    """The moves of one term."""

    def __init__(self, view: PlanningState, random: Random) -> None:
        self._view = view
        self._random = random
        self._stirred: dict[str, _Round | None] = {}
        self._placements = 0

    def stir(self, tiers: Iterable[str] | None = None) -> None:
        """Look through some tiers, or all of them, from the beginning."""
        for tier in self._view.cluster.tiers() if tiers is None else tiers:
            self._stirred[tier] = None

    def stir_if_changed(self) -> None:
        """Once a period: look again where there may be something to find."""
        cluster = self._view.cluster
        changed = cluster.placements - self._placements
        held = sum(len(s.served) for s in cluster.servers.values() if s.replicates)
        for tier in cluster.tiers():
            waiting = any(s.decommissioning and s.served for s in cluster.tier(tier))
            if waiting or changed > STIR_PART * held:
                self._stirred.setdefault(tier, None)
        if changed > STIR_PART * held:
            self._placements = cluster.placements

    def wants(self, now_ms: int) -> bool:
        """Whether `plan` has something to do now."""
        return any(self._may_move(tier, now_ms) for tier in self._stirred)

    def _may_move(self, tier: str, now_ms: int) -> bool:
        moves, most = self._view.cluster.moves_in_flight.get(tier, 0), self._view.limits.moves_in_flight
        return moves < most and not self._view.damping.mass_until(tier, now_ms) and not self._is_loading(tier, moves)

    def _is_loading(self, tier: str, moves: int) -> bool:
        servers = self._view.cluster.tier(tier)
        if any(server.decommissioning and server.served for server in servers):
            return False  # somebody waits for it
        return sum(len(server.loading) for server in servers) - moves >= self._view.limits.moves_in_flight

    def plan(self, now_ms: int, wall_ms: int, looks: int) -> list[MoveSegment]:
        """Look at up to `looks` copies of each stirred tier; the moves are entered in the cluster."""
        moves: list[MoveSegment] = []
        for tier in list(self._stirred):
            for _ in range(looks):
                if not self._may_move(tier, now_ms):
                    break
                found = self._next_of(tier)
                if found is None:
                    break
                move = self._look(*found, now_ms, wall_ms)
                if move is not None:
                    moves.append(move)
        return moves

    def _next_of(self, tier: str) -> tuple[str, str] | None:
        round_ = self._stirred[tier]
        if round_ is None:
            round_ = self._stirred[tier] = self._begin(tier)
        found = round_.next()
        if found is None:
            if round_.moved:
                self._stirred[tier] = None
            else:
                del self._stirred[tier]
        return found

    def _begin(self, tier: str) -> _Round:
        servers = list(self._view.cluster.tier(tier))
        urgent = [(s.name, i) for s in servers if s.decommissioning for i in s.served]
        copies = [(s.name, i) for s in servers if not s.decommissioning for i in s.served]
        self._random.shuffle(copies)
        return _Round(urgent, copies)

    def _look(self, name: str, segment_id: str, now_ms: int, wall_ms: int) -> MoveSegment | None:
        server = self._view.cluster.servers.get(name)
        segment = None if server is None else self._movable(server, segment_id, now_ms, wall_ms)
        if server is None or segment is None:
            return None
        candidates = self._some(eligible(self._view, segment, server.tier, now_ms))
        if server.decommissioning:
            target = self._view.moves.for_load(segment, candidates)
        else:
            target = self._view.moves.for_move(segment, server, candidates)
        round_ = self._stirred.get(server.tier)
        if target is None:
            if round_ is not None:
                round_.in_vain += 1
            return None
        if round_ is not None:
            round_.in_vain, round_.moved = 0, round_.moved or not server.decommissioning
        self._view.cluster.begin_load(target, segment, primary=False, source=server)
        return MoveSegment(target.name, segment, server.name)

    def _some(self, servers: list[Server]) -> list[Server]:
        if len(servers) <= COMPARED:
            return servers
        emptiest = nsmallest(COMPARED // 2, servers, key=lambda server: server.fill)
        return [*emptiest, *self._random.sample(servers, COMPARED // 2)]

    def _movable(self, server: Server, segment_id: str, now_ms: int, wall_ms: int) -> DataSegment | None:
        """The segment, if its copy there may be moved."""
        view = self._view
        segment = view.used.get(segment_id)
        if (
            segment is None
            or segment_id not in server.served
            or segment_id in server.dropping
            or segment_id in server.leaving
            or view.wanting.of(segment_id) is not None
            or view.damping.held_until(segment_id, now_ms)
            or any(segment_id in holder.loading for holder in view.cluster.holders(segment_id))
        ):
            return None
        verdict = verdict_of(view, segment, wall_ms)
        wanted = verdict is not None and not verdict.broadcast and verdict.replicas.get(server.tier, 0) > 0
        return segment if wanted else None
