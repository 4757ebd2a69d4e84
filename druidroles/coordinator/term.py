"""One term of leading: from the proven picture to planning, event by event, until the term is over.

A new leader first raises its epoch in the metadata store, so that no write of its predecessor can come after what it
reads. Then it waits until its views show everything that was committed when it began to lead, enters them and what
stands in the load queues into its picture, and reads the store. There is no fixed delay: the picture is complete, so it
may act. After that every event marks the segments it concerns, and only those are planned again, in slices short enough
that sessions and HTTP clients do not notice. The period is a safety net.

Whoever runs a term must expect TransactionFailedError and StaleEpochError: the fence has refused us.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterable
from random import Random
from typing import Any

import trio

from coordserver.client import SessionState, Term
from druidroles.coordination.load_queue import LoadQueueWriter
from druidroles.coordination.published import tell_published
from druidroles.coordination.tree_view import View
from druidroles.coordinator.duties.kill import KillUnused
from druidroles.coordinator.duties.overlord_client import KillTaskClient
from druidroles.coordinator.duties.poll_metadata import MetadataPoller, MetadataSnapshot
from druidroles.coordinator.dynamic_config import CONFIG_NAME, DynamicConfig, read_stored
from druidroles.coordinator.explain import Explainer
from druidroles.coordinator.loading.load_queue_peon import LoadQueuePeon, monotonic_ms
from druidroles.coordinator.loading.order_counts import LoadQueueCounts
from druidroles.coordinator.planning.balancing import Balancing
from druidroles.coordinator.planning.decisions import MarkUnused
from druidroles.coordinator.planning.planner import (
    marking,
    marking_everything,
    plan,
    planning_overshadowed,
    release_throttled,
    take_awaiting,
)
from druidroles.coordinator.settings import TermSettings, Views, follow_config, in_slices, make_view, wall_ms
from druidroles.coordinator.tree_feed import TreeFeed
from druidroles.leadership.term import begin_term
from druidroles.metadata import LeaderEpoch, MetadataError, MetadataStore, StaleEpochError, StoredRules
from druidroles.model.decode import ModelError
from druidroles.model.names import name_fault
from druidroles.process import RoleContext
from druidroles.rules.rules import Rules

log = logging.getLogger(__name__)

ROLE = "coordinator"
SLICE = 25  # segments planned between two checkpoints, about a millisecond
NAMES_PER_SLICE = 2_000  # ids looked at between two checkpoints
NOTED_S = 0.25  # between two looks whether the views are current
CATCH_UP_S = 1.0  # for views to catch up; in a flood of news they may not
BALANCED_PER_SLICE = 5  # copies looked at for a better place; each is compared with all servers of its tier


class CoordinatorTerm:
    """One term. `ready` says that the first picture is complete."""

    def __init__(self, context: RoleContext, store: MetadataStore, views: Views, term: Term, config: TermSettings):
        self.leader = LeaderEpoch(role=ROLE, epoch=term.epoch)
        self.store = store
        self.rules = Rules({})
        self.config = DynamicConfig()
        self.ready = False
        self.view = make_view(config, monotonic_ms())
        self.reader = MetadataPoller(store, lambda: self.view.used.by_id, self._take_snapshot)
        self._context = context
        self._zk = context.zk
        self._views = views
        self._term = term
        self._settings = config
        counts = LoadQueueCounts(context.metrics)
        writer = LoadQueueWriter(context.zk, context.paths, term)
        self.executor = LoadQueuePeon(self.view, views.queues, writer, term.epoch, counts=counts)
        self._picture = TreeFeed(self.view, views.inventory, views.statuses, self.executor)
        self._balancing = Balancing(self.view, Random())
        self._duties = context.metrics.timer("coordinator/time", "How long a duty took.")
        self.overlord = KillTaskClient(context.http, views.overlords, self.leader)
        self._stored_rules = StoredRules()
        self._stored_config: Any = None
        self._planning = trio.Lock()
        self._wake = trio.Event()
        self._period_over = self._cleaning = self._interrupted = False

    async def begin(self, url: str, *, accept_empty: bool) -> None:
        """Make this the term whose writes count; `url` is ours, for listings. Raises MetadataError."""
        await begin_term(self._zk, self._context.paths, self.store, self.leader, url, accept_empty=accept_empty)

    async def run(self) -> None:
        """Lead, for ever."""
        try:
            await self._run()
        finally:
            gc.unfreeze()  # a term holds itself in cycles

    async def _run(self) -> None:
        await self._wait_current()
        self._picture.build(monotonic_ms())
        self.executor.current_ms = monotonic_ms()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.store.until_lost)
            nursery.start_soon(self.reader.follow, self._zk, self._context.paths)
            await self.reader.first()
            gc.freeze()  # to go through a hundred thousand segments in search of garbage takes a tenth of a second
            self._balancing.stir()
            self.ready = True
            log.info("leading with epoch %d: %d used segments", self.leader.epoch, len(self.view.used))
            nursery.start_soon(self.reader.run, self._settings.period_s)
            for view in (self._views.inventory, self._views.queues, self._views.statuses):
                nursery.start_soon(self._wake_on, view)
            nursery.start_soon(self._tick)
            nursery.start_soon(self._follow_connection)
            nursery.start_soon(self._note_current)
            nursery.start_soon(self.executor.run)
            kill = KillUnused(self.store, self.overlord, lambda: self.config, self._settings.kill)
            nursery.start_soon(kill.run)
            await self._plan_for_ever()

    # -- waking -------------------------------------------------------------------------------------------------------

    async def _wake_on(self, view: View) -> None:
        seen = view.revision.value
        while True:
            seen = await view.changed(seen)
            self._wake.set()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(self._settings.period_s)
            self._period_over = True
            self._wake.set()

    async def _note_current(self) -> None:
        """Tell the executor as of when the views show everything, for ever."""
        while True:
            as_of_ms = monotonic_ms()
            await self._views.inventory.wait_current()
            await self._views.queues.wait_current()
            self.executor.current_ms = as_of_ms
            await trio.sleep(NOTED_S)

    async def _take_snapshot(self, snapshot: MetadataSnapshot) -> None:
        """Take what was read. Other tasks run meanwhile, but nothing is planned while segments are being marked."""
        changed: list[str] = []
        for step in self.view.used.replacing(snapshot.segments, snapshot.read_ms):
            changed = step or changed
            await trio.lowlevel.checkpoint()
        for index, segment_id in enumerate(changed):
            if index % NAMES_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
            fault = name_fault(segment_id)
            if fault is not None and segment_id in self.view.used:
                self.store.unreadable.note("druid_segments", segment_id, f"no load queue can hold it: its id {fault}")
        async with self._planning:
            await in_slices(marking(self.view, [*changed, *take_awaiting(self.view)]))
            if snapshot.rules != self._stored_rules:
                await self._take_rules(snapshot.rules)
            if snapshot.config_fault is None:
                self._take_config(snapshot.config)
            else:  # named by the store
                follow_config(self.view, self.config, self._settings)
        self._wake.set()

    async def _take_rules(self, stored: StoredRules) -> None:
        self._stored_rules = stored
        self.rules = self.view.rules = Rules(stored.rules, stored.faults)
        for data_source, fault in self.rules.faults.items():
            log.error("the rules of %s cannot be read, so nothing is done there: %s", data_source, fault)
        await in_slices(marking_everything(self.view))

    def _take_config(self, stored: Any) -> None:
        if stored != self._stored_config:
            self._stored_config = stored
            try:
                self.config = read_stored(stored)
            except ModelError as error:  # nothing of it changes
                self.store.unreadable.note("druid_config", CONFIG_NAME, str(error))
            else:
                log.info("the dynamic configuration is %s", self.config.to_json())
                self._balancing.stir()
        follow_config(self.view, self.config, self._settings)
        self._balancing.stir(self._picture.decommission(self.config.decommissioning_nodes))

    async def _wait_current(self) -> None:
        """Wait until the views show what was committed when this was called."""
        await self._zk.sync()
        for view in self._views.all():
            await view.wait_current()

    async def _follow_connection(self) -> None:
        async with self._zk.states() as states:
            async for state in states:
                if state is not SessionState.CONNECTED:
                    self._interrupted = True
                    self._wake.set()

    async def _wait_connected(self) -> None:
        """A leader that has lost its connection plans nothing on what it saw before, until it has seen what it missed.

        If the session is lost, the latch ends the term.
        """
        while self._interrupted:
            self._interrupted = False
            log.warning("paused: the connection to the coordination server was lost")
            async with self._zk.states() as states:
                async for state in states:
                    if state is SessionState.CONNECTED:
                        break
            await self._wait_current()
            log.info("resumed")

    # -- planning -----------------------------------------------------------------------------------------------------

    async def _plan_for_ever(self) -> None:
        while True:
            self._wake = trio.Event()
            await self._wait_connected()
            await self._take_events()
            if not self.config.pause_coordination:
                await self._plan()
            if not self._wake.is_set():
                await self._sleep()

    async def _plan(self) -> None:
        """What there is to do now, the most urgent first; returns early when something happens meanwhile."""
        with self._duties.time(duty="RunRules"):
            await self._plan_marked()
        if self._wake.is_set():
            return
        with self._duties.time(duty="BalanceSegments"):
            await self._balance()
        if self._wake.is_set():
            return
        if self._cleaning:
            self._cleaning = False
            with self._duties.time(duty="MarkOvershadowedSegmentsAsUnused"):
                await self._clean_up()
        if self.view.awaiting_read:
            self.reader.want()

    async def _take_events(self) -> None:
        if self._views.inventory.server_deltas:
            # A server that goes has said before that it stops, and one that comes has announced its segments: the views
            # read side by side, and what was told before is to be known first.
            with trio.move_on_after(CATCH_UP_S):
                for view in (self._views.inventory, self._views.statuses):
                    await view.wait_current()
        now = monotonic_ms()
        changed = self._picture.follow(now)
        self._balancing.stir(changed)
        self.executor.follow(now)
        self.executor.sweep_if_due(now)
        for segment_id in self.view.timers.take_due(now):
            self.view.cluster.mark(segment_id)
        release_throttled(self.view)
        everything = bool(changed) and self.rules.has_broadcast
        if self._period_over:
            self._period_over, self._cleaning, everything = False, True, True
            self._balancing.stir_if_changed()
        if everything:
            async with self._planning:
                await in_slices(marking_everything(self.view))

    async def _plan_marked(self) -> None:
        """Plan what is marked, first copies first, until nothing is or something happens."""
        unused: list[MarkUnused] = []
        while self.view.cluster.has_dirt() and not self._wake.is_set():
            async with self._planning:
                for action in plan(self.view, monotonic_ms(), wall_ms(), SLICE):
                    if isinstance(action, MarkUnused):
                        unused.append(action)
                    else:
                        self.executor.carry_out(action)
        await self._mark_unused(unused)

    async def _balance(self) -> None:
        """Order moves until the tiers are settled, as many are in flight as may be, or something happens."""
        while not self._wake.is_set() and self._balancing.wants(monotonic_ms()):
            async with self._planning:
                for action in self._balancing.plan(monotonic_ms(), wall_ms(), BALANCED_PER_SLICE):
                    self.executor.carry_out(action)

    async def _clean_up(self) -> None:
        """Once a period: mark overshadowed segments unused, and tell the operator what nobody looks after."""
        found: list[MarkUnused] = []
        for index, action in enumerate(planning_overshadowed(self.view, monotonic_ms(), wall_ms())):
            found += [] if action is None else [action]
            if index % SLICE == 0:
                await trio.lowlevel.checkpoint()
        await self._mark_unused(found)
        if self.view.without_rule:
            log.warning("no rule applies to %d used segments", len(self.view.without_rule))
        long_s = self.config.replicant_lifetime * self._settings.period_s
        for name in list(self.view.cluster.servers):
            age_s = self.oldest_order_s(name)
            if age_s > long_s:
                log.warning("%s has had a request for %d s (replicantLifetime)", name, age_s)

    def explainer(self) -> Explainer:
        """What explains the state of a segment as it is now."""
        return Explainer(
            view=self.view,
            rules=self.rules,
            orders=self.executor.orders,
            now_ms=monotonic_ms(),
            wall_ms=wall_ms(),
        )

    def requests_to(self, server: str) -> list[dict[str, Any]]:
        """All orders to a server, for the operator."""
        explainer = self.explainer()
        return [explainer.request(order) for order in self.executor.orders.all_of(server)]

    def oldest_order_s(self, server: str) -> float:
        """How long the oldest order to a server has waited for its end."""
        oldest_ms = self.executor.orders.oldest_ms(server)
        return 0.0 if oldest_ms is None else (monotonic_ms() - oldest_ms) / 1000

    async def _mark_unused(self, actions: list[MarkUnused]) -> None:
        if not actions:
            return
        for action in actions:
            log.info("marking %s unused: %s", action.segment_id, action.reason)
        try:
            await self.set_used([action.segment_id for action in actions], False)
        except StaleEpochError:
            raise
        except MetadataError as error:
            log.error("cannot mark %d segments unused, trying again next period: %s", len(actions), error)

    async def set_used(self, segment_ids: Iterable[str], used: bool) -> int:
        """Mark segments used or unused, and tell everybody; returns how many changed. Raises MetadataError."""
        changed = await self.store.set_used(self.leader, segment_ids, used)
        await self.tell_changed()
        return changed

    async def tell_changed(self) -> None:
        """Tell everybody that the metadata store has changed."""
        self.reader.want()
        await tell_published(self._zk, self._context.paths, self._term, "used segments changed")

    async def _sleep(self) -> None:
        """Until the next event, or the next instant at which something is due."""
        paused = self.config.pause_coordination
        dues = [
            due for due in (None if paused else self.view.timers.next_ms(), self.executor.next_ms()) if due is not None
        ]
        with trio.move_on_after(max(min(dues) - monotonic_ms(), 0) / 1000 if dues else math.inf):
            await self._wake.wait()
