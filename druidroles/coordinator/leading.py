"""One term of leading: from the proven picture to planning, event by event, until the term is over.

A new leader first raises its epoch in the metadata store, so that no write of its predecessor can come after what it
reads. Then it waits until its views show everything that was committed when it began to lead, enters them and what
stands in the load queues into its picture, and reads the store. There is no fixed delay: the picture is complete, so it
may act. After that every event marks the segments it concerns, and only those are planned again, in slices short enough
that sessions and HTTP clients do not notice. The period is a safety net.

Whoever runs a term must expect TransactionFailedError and StaleEpochError: the fence has refused us.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import trio

from coordserver.client import Client, SessionState, Term
from druidroles.coordination.inventory import ServerInventory
from druidroles.coordination.load_queue import LoadQueues, LoadQueueWriter
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.published import tell_published
from druidroles.coordinator.actions import MarkUnused
from druidroles.coordinator.cluster import Cluster
from druidroles.coordinator.damping import Damping, DampingConfig
from druidroles.coordinator.executor import Executor, monotonic_ms
from druidroles.coordinator.failures import FailureMemory
from druidroles.coordinator.overshadowing import overshadowed_by_served
from druidroles.coordinator.picture import Picture
from druidroles.coordinator.planner import (
    mark_everything,
    plan,
    plan_overshadowed,
    release_throttled,
    take_snapshot,
)
from druidroles.coordinator.reader import MetadataReader, Snapshot
from druidroles.coordinator.timers import Timers
from druidroles.coordinator.used import UsedSegments
from druidroles.coordinator.view import ClusterView, Limits
from druidroles.metadata import LeaderEpoch, MetadataError, MetadataStore, StaleEpochError
from druidroles.rules.rules import Rules
from druidroles.timeline.overshadow import overshadowed

log = logging.getLogger(__name__)

ROLE = "coordinator"
SLICE = 25  # segments planned between two checkpoints, about a millisecond


@attrs.frozen(kw_only=True)
class LeadingConfig:
    """How a leader plans."""

    period_s: float = 60.0
    limits: Limits = attrs.field(factory=Limits)
    damping: DampingConfig = attrs.field(factory=DampingConfig)


def wall_ms() -> int:
    """The clock that period rules go by."""
    return time.time_ns() // 1_000_000


class Leading:
    """One term. `ready` says that the first picture is complete."""

    def __init__(
        self,
        zk: Client,
        paths: DruidPaths,
        store: MetadataStore,
        inventory: ServerInventory,
        queues: LoadQueues,
        term: Term,
        config: LeadingConfig,
    ) -> None:
        self.leader = LeaderEpoch(role=ROLE, epoch=term.epoch)
        self.store = store
        self.rules = Rules({})
        self.ready = False
        self.view = ClusterView(
            cluster=Cluster(),
            used=UsedSegments(overshadowed),
            rules=self.rules,
            failures=FailureMemory(),
            damping=Damping(config.damping),
            timers=Timers(),
            limits=config.limits,
            leading_since_ms=monotonic_ms(),
        )
        self.reader = MetadataReader(store, lambda: self.view.used.by_id, self._take_snapshot)
        self._zk = zk
        self._paths = paths
        self._inventory = inventory
        self._queues = queues
        self._term = term
        self._config = config
        self._executor = Executor(self.view, queues, LoadQueueWriter(zk, paths, term), term.epoch)
        self._picture = Picture(self.view, inventory, self._executor)
        self._stored_rules: Mapping[str, Any] = {}
        self._wake = trio.Event()
        self._period_over = self._cleaning = self._interrupted = False

    async def begin(self, url: str) -> None:
        """Make this the term whose writes count; `url` is ours, for listings. Raises MetadataError."""
        await self.store.raise_epoch(self.leader, url)

    async def run(self) -> None:
        """Lead, for ever."""
        await self._wait_current()
        self._picture.build(monotonic_ms())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.reader.follow, self._zk, self._paths)
            await self.reader.first()
            self.ready = True
            log.info("leading with epoch %d: %d used segments", self.leader.epoch, len(self.view.used))
            nursery.start_soon(self.reader.run, self._config.period_s)
            nursery.start_soon(self._wake_on, self._inventory)
            nursery.start_soon(self._wake_on, self._queues)
            nursery.start_soon(self._tick)
            nursery.start_soon(self._follow_connection)
            nursery.start_soon(self._executor.run)
            await self._plan_for_ever()

    # -- waking -------------------------------------------------------------------------------------------------------

    async def _wake_on(self, view: ServerInventory | LoadQueues) -> None:
        seen = view.revision.value
        while True:
            seen = await view.changed(seen)
            self._wake.set()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(self._config.period_s)
            self._period_over = True
            self._wake.set()

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        take_snapshot(self.view, snapshot.segments, snapshot.read_ms)
        if snapshot.rules != self._stored_rules:
            self._stored_rules = snapshot.rules
            self.rules = self.view.rules = Rules(snapshot.rules)
            for data_source, fault in self.rules.faults.items():
                log.error("the rules of %s cannot be read, so nothing is done there: %s", data_source, fault)
            mark_everything(self.view)
        self._wake.set()

    async def _wait_current(self) -> None:
        """Wait until the views show what was committed when this was called."""
        await self._zk.sync()
        await self._inventory.wait_current()
        await self._queues.wait_current()

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
            self._take_events()
            await self._plan_marked()
            if self.view.cluster.has_dirt():
                continue  # something happened meanwhile: that first
            if self._cleaning:
                self._cleaning = False
                await self._clean_up()
            if self.view.awaiting_read:
                self.reader.want()
            await self._sleep()

    def _take_events(self) -> None:
        now = monotonic_ms()
        if self._picture.follow(now) and self.rules.has_broadcast:
            mark_everything(self.view)
        self._executor.follow(now)
        self._executor.sweep(now)
        for segment_id in self.view.timers.take_due(now):
            self.view.cluster.mark(segment_id)
        release_throttled(self.view)
        if self._period_over:
            self._period_over, self._cleaning = False, True
            mark_everything(self.view)

    async def _plan_marked(self) -> None:
        """Plan what is marked, first copies first, until nothing is or something happens."""
        unused: list[MarkUnused] = []
        while self.view.cluster.has_dirt() and not self._wake.is_set():
            for action in plan(self.view, monotonic_ms(), wall_ms(), SLICE):
                if isinstance(action, MarkUnused):
                    unused.append(action)
                else:
                    self._executor.carry_out(action)
            await trio.lowlevel.checkpoint()
        await self._mark_unused(unused)

    async def _clean_up(self) -> None:
        """Once a period: mark overshadowed segments unused, and tell the operator what nobody looks after."""
        served_overshadow = overshadowed_by_served(self.view, wall_ms())
        await self._mark_unused(plan_overshadowed(self.view, served_overshadow, monotonic_ms()))
        if self.view.without_rule:
            log.warning("no rule applies to %d used segments", len(self.view.without_rule))

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
        await tell_published(self._zk, self._paths, self._term, "used segments changed")

    async def _sleep(self) -> None:
        """Until the next event, or the next instant at which something is due."""
        dues = [due for due in (self.view.timers.next_ms(), self._executor.next_ms()) if due is not None]
        with trio.move_on_after(max(min(dues) - monotonic_ms(), 0) / 1000 if dues else math.inf):
            await self._wake.wait()
