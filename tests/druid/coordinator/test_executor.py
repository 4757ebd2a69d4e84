"""What becomes of orders, case by case, with load queues and a writer whose tree the test plays itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing

from coordserver.client import BadVersionError, KeeperError, ThrottledError
from druidroles.coordination.changes import Deltas
from druidroles.coordination.load_queue import Key, LoadQueues, LoadQueueWriter, Outcome, QueueEntry
from druidroles.coordinator.cluster.copies import Cluster, Server
from druidroles.coordinator.cluster.departures import Departures, DepartureSettings
from druidroles.coordinator.cluster.load_failures import FailureMemory
from druidroles.coordinator.cluster.timers import Timers
from druidroles.coordinator.cluster.used_segments import UsedSegments
from druidroles.coordinator.loading.load_queue_peon import SWEEP_MS, VANISHED_GRACE_MS, LoadQueuePeon
from druidroles.coordinator.planning.decisions import CancelLoad, DropSegment, LoadSegment
from druidroles.coordinator.planning.state import PlanningLimits, PlanningState
from druidroles.model.change_request import Action, ChangeRequest, CoordMark
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.rules.rules import Rules

DAY_MS = 86_400_000
SEGMENT = DataSegment("wiki", Interval(0, DAY_MS), "v1", size=10)
OTHER = DataSegment("wiki", Interval(DAY_MS, 2 * DAY_MS), "v1", size=10)
KEY = ("h", SEGMENT.id)
EPOCH = 7


class Tree:
    """The requests in the tree, as view and as writer. `refuse` is what the next call meets."""

    def __init__(self) -> None:
        self.deltas: Deltas[Key, QueueEntry] = Deltas()
        self.shown: dict[Key, QueueEntry] = {}
        self.standing: dict[Key, QueueEntry] = {}
        self.refuse: KeeperError | None = None
        self.czxid = 100

    def entry(self, server: str, segment_id: str) -> QueueEntry | None:
        return self.shown.get((server, segment_id))

    def of_server(self, server: str) -> Mapping[str, QueueEntry]:
        return {segment_id: entry for (name, segment_id), entry in self.shown.items() if name == server}

    async def write(self, requests: Sequence[tuple[str, ChangeRequest]]) -> dict[Key, Outcome]:
        await trio.lowlevel.checkpoint()
        if self.refuse is not None:
            refusal, self.refuse = self.refuse, None
            raise refusal
        outcome: dict[Key, Outcome] = {}
        for server, request in requests:
            key = (server, request.id)
            met = self.standing.get(key)
            if met is None or not met.started:
                self.czxid += 1
                met = None
                self.standing[key] = QueueEntry(request, 0, self.czxid)
            outcome[key] = met or self.czxid
        return outcome

    async def delete(self, keys: Mapping[Key, int]) -> dict[Key, KeeperError | None]:
        await trio.lowlevel.checkpoint()
        outcome: dict[Key, KeeperError | None] = {}
        for key, version in keys.items():
            if version in (-1, self.standing[key].version):
                del self.standing[key]
                outcome[key] = None
            else:
                outcome[key] = BadVersionError(key[1])
        return outcome

    def show(self) -> None:
        """The view catches up with the tree."""
        for key in [*self.shown, *self.standing]:
            old, new = self.shown.pop(key, None), self.standing.get(key)
            if new is not None:
                self.shown[key] = new
            self.deltas.put(key, old, new)

    def set(self, key: Key, version: int, failure: str | None = None) -> None:
        """The server sets the request."""
        entry = self.standing[key]
        mark = CoordMark(EPOCH, failure=failure)
        request = ChangeRequest(entry.request.action, entry.request.segment, mark)
        self.standing[key] = QueueEntry(request, version, entry.czxid)


class World:
    """One server, an executor, and the tree between them."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.tree = Tree()
        self.view = PlanningState(
            cluster=Cluster(),
            used=UsedSegments(),
            rules=Rules({}),
            failures=FailureMemory(),
            damping=Departures(DepartureSettings()),
            timers=Timers(),
        )
        self.server = self.view.cluster.add_server(Server("h", "t", max_size=1_000))
        fake: Any = self.tree
        self.executor = LoadQueuePeon(
            self.view, cast(LoadQueues, fake), cast(LoadQueueWriter, fake), EPOCH, lambda: self.now_ms
        )

    async def write(self) -> None:
        """Let the writer do what there is to do."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.executor.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    def load(self, segment: DataSegment = SEGMENT) -> None:
        self.view.cluster.begin_load(self.server, segment, primary=True)
        self.executor.carry_out(LoadSegment("h", segment, True))

    def drop(self) -> None:
        self.view.cluster.begin_drop(self.server, SEGMENT.id)
        self.executor.carry_out(DropSegment("h", SEGMENT))

    def cancel(self) -> None:
        self.view.cluster.end_load(self.server, SEGMENT.id)
        self.executor.carry_out(CancelLoad("h", SEGMENT.id))

    def serve(self) -> None:
        self.view.cluster.add_served(self.server, SEGMENT, self.now_ms)
        self.executor.served("h", SEGMENT.id)

    def follow(self, later_ms: int = 0) -> None:
        self.tree.show()
        self.executor.follow(self.now_ms + later_ms)

    @property
    def failures(self) -> dict[str, str]:
        return {server: failure.cause for server, failure in self.view.failures.of_segment(SEGMENT.id).items()}


@pytest.fixture
def world() -> World:
    return World()


async def test_an_order_is_written_begun_and_done(world: World) -> None:
    world.load()
    await world.write()
    assert world.tree.standing[KEY].request == ChangeRequest.load(SEGMENT, CoordMark(EPOCH, 1))
    world.tree.set(KEY, 1)
    world.follow()
    assert world.server.loading[SEGMENT.id].started
    world.serve()
    del world.tree.standing[KEY]
    world.follow()
    assert world.executor.orders.in_tree_count == 0
    world.follow(VANISHED_GRACE_MS)
    assert world.failures == {}


async def test_what_was_done_so_fast_that_its_request_was_never_seen_is_done(world: World) -> None:
    world.load()
    await world.write()
    del world.tree.standing[KEY]
    world.serve()
    assert world.executor.orders.in_tree_count == 0


async def test_a_request_gone_without_an_announcement_fails_only_after_a_grace(world: World) -> None:
    world.load()
    await world.write()
    world.follow()
    del world.tree.standing[KEY]
    world.follow()
    world.follow(VANISHED_GRACE_MS - 1)
    assert world.failures == {}
    assert SEGMENT.id in world.server.loading
    world.follow(VANISHED_GRACE_MS)
    assert list(world.failures) == ["h"]
    assert SEGMENT.id not in world.server.loading
    assert world.view.cluster.has_dirt()


async def test_an_announcement_within_the_grace_is_a_success(world: World) -> None:
    world.load()
    await world.write()
    world.follow()
    del world.tree.standing[KEY]
    world.follow()
    world.serve()
    world.follow(VANISHED_GRACE_MS)
    assert world.failures == {}


async def test_a_request_that_came_and_went_unseen_is_missed(world: World) -> None:
    world.load()
    await world.write()
    del world.tree.standing[KEY]
    world.executor.sweep(world.now_ms + SWEEP_MS - 1)
    assert world.executor.orders.in_tree_count == 1
    world.executor.sweep(world.now_ms + SWEEP_MS)
    world.follow(SWEEP_MS + VANISHED_GRACE_MS)
    assert list(world.failures) == ["h"]


async def test_views_that_lag_prove_nothing_missing(world: World) -> None:
    """Under load announcements are seen seconds after the request has gone, and requests after they were written."""
    world.load()
    await world.write()
    world.executor.current_ms = world.now_ms - 1  # our own request has not been seen yet
    world.executor.sweep(world.now_ms + SWEEP_MS)
    assert world.executor.orders.in_tree_count == 1
    world.executor.current_ms = world.now_ms
    world.follow()
    del world.tree.standing[KEY]
    world.follow(1)
    world.follow(10 * VANISHED_GRACE_MS)
    assert world.failures == {}
    due = world.executor.next_ms()
    assert due is not None
    assert due > world.now_ms
    world.executor.current_ms = world.now_ms + 1
    world.follow(10 * VANISHED_GRACE_MS)
    assert list(world.failures) == ["h"]


async def test_a_failure_is_remembered_and_its_request_deleted(world: World) -> None:
    world.load()
    await world.write()
    world.tree.set(KEY, 2, "disk full")
    world.follow()
    assert world.failures == {"h": "disk full"}
    assert SEGMENT.id not in world.server.loading
    await world.write()
    assert world.tree.standing == {}
    world.load()
    await world.write()
    assert world.tree.standing[KEY].request.coord == CoordMark(EPOCH, 2)


async def test_what_still_waits_is_taken_back_without_the_tree(world: World) -> None:
    world.load()
    world.cancel()
    await world.write()
    assert world.tree.standing == {}
    assert world.tree.czxid == 100


async def test_what_was_begun_meanwhile_counts_again(world: World) -> None:
    world.load()
    await world.write()
    world.tree.set(KEY, 1)
    world.cancel()
    await world.write()
    assert world.server.loading[SEGMENT.id].started
    assert world.executor.orders.in_tree_count == 1


async def test_an_order_anew_waits_until_the_old_one_is_taken_back(world: World) -> None:
    world.load()
    await world.write()
    world.follow()
    world.cancel()
    world.load()
    await world.write()
    assert world.tree.standing[KEY].czxid == 102
    world.follow()
    assert world.executor.orders.in_tree("h", SEGMENT.id) is not None


async def test_the_late_news_of_an_older_request_is_not_that_of_the_new_one(world: World) -> None:
    world.load()
    await world.write()
    world.follow()
    old = world.tree.shown.pop(KEY)
    world.cancel()
    world.load()
    await world.write()
    world.tree.deltas.put(KEY, old, None)
    world.executor.follow(world.now_ms)
    world.executor.follow(world.now_ms + VANISHED_GRACE_MS)
    assert world.failures == {}
    assert world.executor.orders.in_tree("h", SEGMENT.id) is not None


async def test_a_load_that_nobody_begins_is_taken_back_and_counts_as_failed(world: World) -> None:
    world.load()
    await world.write()
    world.follow()
    world.executor.sweep(world.now_ms + PlanningLimits().load_timeout_ms)
    await world.write()
    assert world.tree.standing == {}
    assert list(world.failures) == ["h"]


async def test_a_server_that_leaves_takes_its_orders_with_it(world: World) -> None:
    world.load()
    await world.write()
    world.load(OTHER)
    world.executor.server_left("h")
    world.view.cluster.remove_server("h")
    await world.write()
    assert world.tree.standing == {}
    assert world.executor.orders.in_tree_count == 0


async def test_what_stands_is_adopted_the_begun_as_it_is_the_rest_written_anew(world: World) -> None:
    world.tree.standing[KEY] = QueueEntry(ChangeRequest.load(SEGMENT, CoordMark(3)), 1, 50)
    world.tree.standing["h", OTHER.id] = QueueEntry(ChangeRequest.load(OTHER, CoordMark(3)), 0, 51)
    world.tree.show()
    world.executor.adopt(world.server)
    assert world.server.loading[SEGMENT.id].started
    await world.write()
    assert world.tree.standing[KEY].czxid == 50
    assert world.tree.standing["h", OTHER.id].request.coord == CoordMark(EPOCH)
    assert world.executor.orders.in_tree_count == 2


async def test_a_drop_waits_while_the_server_is_at_the_opposite(world: World) -> None:
    world.tree.standing[KEY] = QueueEntry(ChangeRequest.load(SEGMENT, CoordMark(3)), 1, 50)
    world.tree.show()
    world.view.cluster.add_served(world.server, SEGMENT, world.now_ms)
    world.drop()
    await world.write()
    assert world.tree.standing[KEY].request.action is Action.LOAD
    del world.tree.standing[KEY]
    world.follow()
    await world.write()
    assert world.tree.standing[KEY].request.action is Action.DROP


async def test_a_server_that_is_throttled_is_asked_again(world: World, autojump_clock: Any) -> None:
    world.load()
    world.tree.refuse = ThrottledError()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.executor.run)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert KEY in world.tree.standing
