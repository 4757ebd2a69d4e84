"""From what the planners decide to requests in the load queues, and from what becomes of those back into the picture.

Everything but `run` is synchronous and changes the cluster's picture at once; `run` is the one task that writes. What
may become of a request:

* the segment is announced: done, whether or not its deletion has been seen yet;
* a failure is written into it: remembered with its cause, the request deleted, the segment planned anew, elsewhere;
* it is gone and the segment is not announced: the announcement may be on its way, so that is a failure only after a
  grace (Druid's announcer writes in the background, up to two seconds later), and once our view of the announcements
  has caught up with what was told when the request was seen to be gone;
* nobody begins with it within PT15M: taken back and counted as a failure;
* it was begun and is not done within PT15M: it goes on, because it cannot be taken back, and is told; where the
  configuration says so, another server is asked as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from coordserver.client import BadVersionError, KeeperError, NoNodeError, SessionExpiredError
from druidroles.coordination.load_queue import Key, LoadQueues, LoadQueueWriter, Outcome, QueueEntry
from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.loading.order_counts import LoadQueueCounts
from druidroles.coordinator.loading.orders import Order, Orders
from druidroles.coordinator.planning.decisions import Action as Planned
from druidroles.coordinator.planning.decisions import CancelDrop, CancelLoad, DropSegment, LoadSegment, MoveSegment
from druidroles.coordinator.planning.state import PlanningState
from druidroles.http.metrics import Metrics
from druidroles.model.change_request import Action, ChangeRequest, CoordMark
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

BATCH = 400  # orders taken at once: four multis
VANISHED_GRACE_MS = 2_000
SWEEP_MS = 5_000  # how old a request is before its absence from the tree means anything
SWEEP_PAUSE_MS = 1_000  # between two sweeps
RETRY_S = 0.5  # after the server refused a write for a passing reason


def monotonic_ms() -> int:
    """The monotonic clock that all graces are measured with."""
    return round(trio.current_time() * 1000)


class LoadQueuePeon:
    """The orders of one term. `clock` is the monotonic one of the view, in milliseconds."""

    def __init__(
        self,
        view: PlanningState,
        queues: LoadQueues,
        writer: LoadQueueWriter,
        epoch: int,
        clock: Callable[[], int] = monotonic_ms,
        counts: LoadQueueCounts | None = None,
    ) -> None:
        self.orders = Orders()
        self._view = view
        self._queues = queues
        self._writer = writer
        self._epoch = epoch
        self._clock = clock
        self._counts = counts or LoadQueueCounts(Metrics())
        self._deletes: dict[Key, int] = {}  # requests to delete, each at a version
        self._withdrawing: dict[Key, Order] = {}  # those among them that we want back
        self._vanished: dict[Key, tuple[Order, int]] = {}  # gone unannounced, and until when that may be right
        # The instant as of which both views, of queues and of announcements, show everything; None: at any. Only what
        # is missing from views that have caught up is missing, and under load they lag by seconds.
        self.current_ms: int | None = None
        self._sweep_due_ms = 0
        self._work = trio.Event()

    # -- orders -------------------------------------------------------------------------------------------------------

    def carry_out(self, action: Planned) -> None:
        """Take a decision of the planners about a load queue; it is entered in the cluster already."""
        match action:
            case LoadSegment(server, segment, primary):
                self._put(Order(server, segment, Action.LOAD, primary, self._attempt(server, segment)))
            case MoveSegment(server, segment, source):
                self._put(Order(server, segment, Action.LOAD, False, self._attempt(server, segment), source))
            case DropSegment(server, segment):
                self._put(Order(server, segment, Action.DROP))
            case CancelLoad(server, segment_id) | CancelDrop(server, segment_id):
                self._withdraw(server, segment_id)

    def _attempt(self, server: str, segment: DataSegment) -> int:
        failed = self._view.failures.of_segment(segment.id).get(server)
        return failed.count + 1 if failed is not None else 1

    def _put(self, order: Order) -> None:
        order.ordered_ms = self._clock()
        self._counts.assigned(order)
        self.orders.put(order)
        self._work.set()

    def _withdraw(self, server: str, segment_id: str) -> None:
        waiting = self.orders.remove_waiting(server, segment_id)
        if waiting is not None:
            waiting.withdrawn = True
            self._counts.cancelled(waiting)
        standing = self.orders.remove_in_tree(server, segment_id)
        if standing is not None:
            self._take_back(standing)
            self._counts.cancelled(standing)

    def _take_back(self, order: Order) -> None:
        self._withdrawing[order.key] = order
        self._deletes[order.key] = 0
        self._work.set()

    def adopt(self, server: Server) -> None:
        """Make what stands in a server's queue ours: a predecessor's orders, or those from before the server left.

        What the server has begun stays as it is; the rest is written again with our epoch, as ephemerals of ours.
        """
        for segment_id, entry in list(self._queues.of_server(server.name).items()):
            segment, action = entry.request.segment, entry.request.action
            if segment is None or (segment_id in server.served) is (action is Action.LOAD):
                continue
            self._deletes.pop((server.name, segment_id), None)
            if action is Action.LOAD:
                self._view.cluster.begin_load(server, segment, primary=False)
            else:
                self._view.cluster.begin_drop(server, segment_id)
            order = Order(server.name, segment, action)
            if entry.started or entry.failure is not None:
                self._adopt_standing(order, entry)
            else:
                self._put(order)

    def _adopt_standing(self, order: Order, entry: QueueEntry) -> None:
        self.orders.put_in_tree(order, entry.czxid, self._clock())
        self._entry_changed(order.key, entry)

    def server_left(self, name: str) -> None:
        """Forget all orders to a server, and delete its requests: if it comes back, it is planned anew."""
        gone = self.orders.remove_server(name)
        for order in gone.all_waiting():
            order.withdrawn = True
        for key in [*((name, i) for i in gone.in_tree), *(key for key in self._withdrawing if key[0] == name)]:
            self._deletes[key] = -1
        for key in [key for key in self._vanished if key[0] == name]:
            del self._vanished[key]
        self._work.set()

    # -- what became of them ------------------------------------------------------------------------------------------

    def served(self, server: str, segment_id: str) -> None:
        """A server announced a segment."""
        self._view.failures.succeeded(segment_id, server)
        self._done(server, segment_id, Action.LOAD)

    def unserved(self, server: str, segment_id: str) -> None:
        """A server announces a segment no longer."""
        self._done(server, segment_id, Action.DROP)

    def _done(self, server: str, segment_id: str, action: Action) -> None:
        order = self.orders.of(server, segment_id)
        vanished = self._vanished.get((server, segment_id))
        if vanished is not None and vanished[0].action is action:
            del self._vanished[server, segment_id]
            order = vanished[0]
        if order is not None and order.action is action and not order.done:
            order.done = True
            self._counts.succeeded(order)
        order = self.orders.in_tree(server, segment_id)
        # While the request is still seen, its deletion will be too.
        if order is not None and order.action is action and self._queues.entry(server, segment_id) is None:
            self.orders.remove_in_tree(server, segment_id)
            self._work.set()

    def follow(self, now_ms: int) -> None:
        """Take what the load queues told, and what has become due."""
        for delta in self._queues.deltas.take():
            if delta.new is not None:
                self._entry_changed(delta.key, delta.new)
            elif delta.old is not None:
                self._entry_gone(delta.key, delta.old.czxid, now_ms)
        for key, (order, until_ms) in list(self._vanished.items()):
            if until_ms <= now_ms and self._is_current(until_ms - VANISHED_GRACE_MS):
                del self._vanished[key]
                self._failed(order, "the request is gone, the segment is not announced", now_ms)

    def _is_current(self, as_of_ms: int) -> bool:
        return self.current_ms is None or self.current_ms >= as_of_ms

    def _entry_changed(self, key: Key, entry: QueueEntry) -> None:
        order = self.orders.in_tree(*key)
        if order is None or entry.czxid < order.czxid:
            return
        if entry.failure is not None:
            self.orders.remove_in_tree(*key)
            self._deletes[key] = entry.version
            self._work.set()
            self._failed(order, entry.failure, self._clock())
        elif entry.started and not order.started:
            self._mark_started(order)

    def _mark_started(self, order: Order) -> None:
        order.started = True
        server = self._view.cluster.servers.get(order.server)
        if server is not None and order.segment.id in server.loading:
            server.loading[order.segment.id].started = True
        elif server is not None and order.segment.id in server.dropping:
            server.dropping[order.segment.id] = True

    def _entry_gone(self, key: Key, czxid: int, now_ms: int) -> None:
        self._work.set()  # its place is free
        order = self.orders.in_tree(*key)
        if order is None or czxid < order.czxid:
            return
        self.orders.remove_in_tree(*key)
        if self._is_open(order):
            self._vanished[key] = (order, now_ms + VANISHED_GRACE_MS)

    def _is_open(self, order: Order) -> bool:
        """Whether the cluster still waits for it."""
        server = self._view.cluster.servers.get(order.server)
        if server is None:
            return False
        return order.segment.id in (server.loading if order.action is Action.LOAD else server.dropping)

    def _failed(self, order: Order, cause: str, now_ms: int) -> None:
        self._counts.failed(order)
        server = self._view.cluster.servers.get(order.server)
        log.warning("%s did not %s %s: %s", order.server, order.action.value, order.segment.id, cause)
        if server is None:
            return
        self._view.failures.record(order.segment.id, order.server, cause, now_ms)
        if order.action is Action.LOAD:
            self._view.cluster.end_load(server, order.segment.id)
        else:
            self._view.cluster.end_drop(server, order.segment.id)

    def next_ms(self) -> int | None:
        """When `follow` or `sweep` should be called even if nothing happens; None if there is nothing to wait for."""
        dues = [
            until_ms if self._is_current(until_ms - VANISHED_GRACE_MS) else self._clock() + SWEEP_PAUSE_MS
            for _, until_ms in self._vanished.values()
        ]
        if self.orders.in_tree_count:
            dues.append(self._clock() + SWEEP_MS)
        return min(dues, default=None)

    def sweep_if_due(self, now_ms: int) -> None:
        """Sweep, unless that was done a moment ago."""
        if now_ms >= self._sweep_due_ms:
            self._sweep_due_ms = now_ms + SWEEP_PAUSE_MS
            self.sweep(now_ms)

    def sweep(self, now_ms: int) -> None:
        """Find requests that came and went unseen, those that nobody takes up, and those that do not end."""
        timeout_ms = self._view.limits.load_timeout_ms
        old = [o for o in self.orders.all_in_tree() if o.written_ms is not None and now_ms - o.written_ms >= SWEEP_MS]
        for order in old:
            if self._queues.entry(*order.key) is None:
                if self._is_current(order.written_ms or 0):
                    self._entry_gone(order.key, order.czxid, now_ms)
            elif order.written_ms is None or now_ms - order.written_ms < timeout_ms:
                continue
            elif not order.started:
                self.orders.remove_in_tree(*order.key)
                self._take_back(order)
                self._failed(order, f"not begun within {timeout_ms // 1000} s", now_ms)
            else:
                self._is_late(order)

    def _is_late(self, order: Order) -> None:
        if not order.late:
            order.late = True
            log.warning("%s has been at it for long: %s of %s", order.server, order.action.value, order.segment.id)
        server = self._view.cluster.servers.get(order.server)
        load = None if server is None else server.loading.get(order.segment.id)
        if load is not None and not load.late and self._view.limits.replicate_late:
            load.late = True
            self._view.cluster.mark(order.segment.id)

    # -- writing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is ordered, for ever. Raises TransactionFailedError when the term is over."""
        while True:
            self._work = trio.Event()
            batch = self.orders.next_batch(BATCH, self._is_occupied)
            try:
                if self._deletes:
                    await self._delete()
                elif batch:
                    await self._write(batch)
                else:
                    await self._work.wait()
            except SessionExpiredError:
                raise
            except KeeperError as error:  # throttled, disk full: all of them pass
                log.warning("writing the load queues again after: %s", error)
                await trio.sleep(RETRY_S)

    def _is_occupied(self, order: Order) -> bool:
        if order.key in self._withdrawing or self.orders.in_tree(*order.key) is not None:
            return True
        entry = self._queues.entry(*order.key)
        return entry is not None and entry.started and entry.request.action is not order.action

    async def _write(self, batch: list[Order]) -> None:
        outcome = await self._writer.write([(order.server, self._request(order)) for order in batch])
        for order in batch:
            self._written(order, outcome[order.key])

    def _written(self, order: Order, outcome: Outcome) -> None:
        if isinstance(outcome, KeeperError):
            if self.orders.is_waiting(order):
                self.orders.remove_waiting(*order.key)
                self._failed(order, f"the request was refused: {outcome}", self._clock())
        elif isinstance(outcome, QueueEntry) and outcome.request.action is not order.action:
            pass  # the server is at the opposite; the order waits until that is over
        elif order.withdrawn:
            self._take_back(order)
        elif self.orders.is_waiting(order):
            czxid = outcome if isinstance(outcome, int) else outcome.czxid
            self.orders.put_in_tree(order, czxid, self._clock())
            if isinstance(outcome, QueueEntry):
                self._entry_changed(order.key, outcome)

    def _request(self, order: Order) -> ChangeRequest:
        return ChangeRequest(order.action, order.segment, CoordMark(self._epoch, order.attempt))

    async def _delete(self) -> None:
        taken, self._deletes = self._deletes, {}
        try:
            outcome = await self._writer.delete(taken)
        except KeeperError:
            self._deletes = {**taken, **self._deletes}
            raise
        for key, refusal in outcome.items():
            order = self._withdrawing.pop(key, None)
            if order is not None and isinstance(refusal, BadVersionError):
                self._reinstate(order)
            elif refusal is not None and not isinstance(refusal, NoNodeError):
                log.warning("the request to %s about %s cannot be taken back: %s", *key, refusal)

    def _reinstate(self, order: Order) -> None:
        """It had been begun before it could be taken back: it counts again."""
        server = self._view.cluster.servers.get(order.server)
        if server is None:
            return
        if order.action is Action.LOAD:
            source = None if order.source is None else self._view.cluster.servers.get(order.source)
            self._view.cluster.begin_load(server, order.segment, primary=order.primary, source=source)
        else:
            self._view.cluster.begin_drop(server, order.segment.id)
        self.orders.put_in_tree(order, order.czxid, self._clock())
        self._mark_started(order)
        self._view.cluster.mark(order.segment.id)
