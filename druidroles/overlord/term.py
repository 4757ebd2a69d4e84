"""One term of leading: the tree and the store on one side, the planner in the middle, its actions carried out here.

Whenever anything changes (the tree, a task submitted or shut down, a timeout) the planner is asked what to do, on the
state as it is then, and its actions are done one by one. None of them relies on the state not having changed meanwhile:
each write is fenced and says whether it found what it expected, and the next look sees what is left to do.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

import attrs
import httpx2
import trio

from coordserver.client import ConnectionLossError, ThrottledError
from coordserver.core.model.errors import DiskFullError
from druidroles.coordination.persistence import OF_ONE_ZNODE
from druidroles.coordination.task_queue import Place, TaskQueue, TaskTree
from druidroles.metadata import (
    Audit,
    LeaderEpoch,
    MetadataError,
    MetadataStore,
    StaleEpochError,
    TaskRow,
    UnreadableRowError,
    UnstorableValueError,
)
from druidroles.model.decode import ModelError
from druidroles.model.task import TaskLock, TaskState, TaskStatus
from druidroles.overlord.actions import TaskActions
from druidroles.overlord.api.listing import STATES, Listed
from druidroles.overlord.counts import Counts
from druidroles.overlord.observations import Observations, monotonic_ms
from druidroles.overlord.planning.blacklist import Blacklist, BlacklistRule
from druidroles.overlord.planning.lockbox import HeldLock, Lockbox
from druidroles.overlord.planning.planner import plan
from druidroles.overlord.planning.select import Strategy, WorkerLoad, equal_distribution
from druidroles.overlord.planning.slots import loads
from druidroles.overlord.planning.submission import queued
from druidroles.overlord.planning.values import (
    Action,
    Assign,
    Clear,
    Finish,
    Forget,
    Policy,
    QueuedTask,
    QueueTimeouts,
    Seen,
    Stop,
    Withdraw,
)
from druidroles.overlord.planning.worker_config import NAME as WORKER_CONFIG
from druidroles.overlord.planning.worker_config import WorkerConfig
from druidroles.overlord.publications import Publications
from druidroles.overlord.worker_client import WorkerClient

log = logging.getLogger(__name__)

# What the tree refuses about one znode, or the store about one value, whatever is asked of others.
_OF_ONE = (*OF_ONE_ZNODE, UnstorableValueError)

RETRY_S = 1.0  # after the tree or the store refused something for a passing reason
STOP_AGAIN_S = 5.0  # a worker takes up to this to end a process; then it is told again


@attrs.frozen(kw_only=True)
class OverlordTermSettings:
    """What a leader is told at its start: timeouts, the blacklist, and the strategy until one is configured."""

    limits: QueueTimeouts = attrs.field(factory=QueueTimeouts)
    blacklist: BlacklistRule = attrs.field(factory=BlacklistRule)
    strategy: Strategy = equal_distribution
    parallel_ratio: float = 1.0


class OverlordTerm:
    """Made by `begin`, then `run`. HTTP resources use it meanwhile; when the term is over the fences refuse them."""

    def __init__(
        self,
        store: MetadataStore,
        leader: LeaderEpoch,
        tree: TaskTree,
        queue: TaskQueue,
        http: httpx2.AsyncClient,
        wall_ms: Callable[[], int],
        rules: OverlordTermSettings | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.store = store
        self.leader = leader
        self.tree = tree
        self.rules = rules or OverlordTermSettings()
        self.counts = counts or Counts()
        self.config = WorkerConfig(self.rules.strategy)
        self.blacklist = Blacklist(self.rules.blacklist)
        self.tasks: dict[str, TaskRow] = {}
        self.last_completed_ms: dict[str, int] = {}
        self._publications = Publications(queue)
        self.actions = TaskActions(store, leader, Lockbox(), self._publications.note, wall_ms)
        self._queue = queue
        self.commands = WorkerClient(http, tree, leader.epoch, self.depose)
        self._wall_ms = wall_ms
        self._queue_of: dict[str, tuple[TaskRow, QueuedTask]] = {}
        self._memory = Observations()
        self._stopping: set[Place] = set()
        self._retry = False
        self._refused: dict[Action, str] = {}  # what the tree refused at the last look, and why
        self._refused_now: dict[Action, str] = {}
        self._scope = trio.CancelScope()

    async def begin(self) -> None:
        """Read tasks, locks and configuration; the epoch must have been raised and the view be complete before.

        A row that cannot be read, or holds a name that no path can hold, hurts nothing else: it is passed over.
        """
        for row in await self.store.active_tasks():
            try:
                queued(row)
            except ModelError as fault:
                self.store.unreadable.note("druid_tasks", row.id, str(fault))
            else:
                self.tasks[row.id] = row
        await self._take_stored_config()
        held = [
            HeldLock(stored.row_id, stored.task_id, TaskLock.from_json(stored.lock))
            for stored in await self.store.locks()
        ]
        self.actions = TaskActions(self.store, self.leader, Lockbox(held), self._publications.note, self._wall_ms)
        log.info("epoch %d: %d active tasks, %d locks", self.leader.epoch, len(self.tasks), len(held))

    async def _take_stored_config(self) -> None:
        try:
            configured = await self.store.config(WORKER_CONFIG)
            if configured is not None:
                self.config = WorkerConfig.parse(configured)
        except UnreadableRowError as fault:
            log.error("the stored worker configuration is not used: %s", fault)
        except ModelError as fault:
            self.store.unreadable.note("druid_config", WORKER_CONFIG, str(fault))

    async def run(self) -> None:
        """Lead until cancelled or deposed. Raises what the fences say (a CoordError, StaleEpochError), grouped."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._publications.run)
                while True:
                    revision = self.tree.revision.value
                    with trio.move_on_at(await self._look(nursery)):
                        await self.tree.changed(revision)

    def depose(self) -> None:
        """Somebody else leads: end the term."""
        self._scope.cancel(reason="deposed")

    # What the HTTP resources ask for

    async def submit(self, row: TaskRow) -> bool:
        """Take a new task; False if its id is taken."""
        if not await self.store.insert_task(self.leader, row):
            return False
        self.tasks[row.id] = row
        log.info("task %s is submitted", row.id)
        self._look_again()
        return True

    async def configure(self, config: WorkerConfig, audit: Audit) -> None:
        """Spread tasks over workers like this from now on."""
        await self.store.set_config(self.leader, WORKER_CONFIG, config.json, audit)
        self.config = config
        log.info("the worker configuration is changed by %r: %s", audit.author, audit.comment)
        self._look_again()

    async def shut_down(self, task_id: str, why: str) -> bool:
        """End a task that has not ended; its worker is told by the next look. False if it had ended."""
        return await self._end(Finish(task_id, None, TaskStatus.failure(task_id, why)))

    def running(self, row: TaskRow) -> TaskStatus | None:
        """What the worker of an active task says of it; None while it is pending."""
        announcement = None if row.worker is None else self.tree.statuses.get((row.worker, row.id))
        return None if announcement is None else announcement.status

    def listed(self, row: TaskRow) -> Listed:
        """A task as it is shown."""
        if not row.active:
            return Listed(row)
        return Listed(row, self.running(row), row.id in self.actions.waiting)

    def queue(self) -> dict[str, object]:
        """How long the queue is and since when its head waits, for the status in the tree."""
        states = Counter(self.listed(row).state for row in self.tasks.values())
        waiting = (row.created_date for row in self.tasks.values() if self.listed(row).state == "pending")
        return {
            "tasks": {state: states[state] for state in STATES if state != "complete"},
            "pendingSince": next(waiting, None),
            "workers": len(self.tree.workers),
            "blacklisted": sorted(self.blacklist.workers),
        }

    def worker_loads(self) -> list[WorkerLoad]:
        """The workers with what they have to do."""
        return loads(self._seen(), self._queued())

    def barred_until(self, worker: str) -> int | None:
        """Until which wall clock time a worker of the blacklist gets no tasks."""
        until = self.blacklist.until(worker)
        return None if until is None else self._wall_ms() + until - monotonic_ms()

    # Looking

    def _look_again(self) -> None:
        self.tree.revision.bump()

    async def _look(self, nursery: trio.Nursery) -> float:
        """Plan and act once; when to look again if nothing changes."""
        now_ms = monotonic_ms()
        self._memory.note(self.tree, self.tasks, now_ms)
        for worker in self.blacklist.sweep(len(self.tree.workers), now_ms):
            log.info("worker %s gets tasks again", worker)
        policy = Policy(self.config.strategy, self.config.limits, self.rules.parallel_ratio)
        planned = plan(self._queued(), self._seen(), now_ms, self.rules.limits, policy)
        self._retry = False
        try:
            for action in planned.actions:
                await self._carry_out_alone(action, nursery)
        except StaleEpochError:
            raise
        except (MetadataError, ConnectionLossError, ThrottledError, DiskFullError) as fault:
            log.warning("looking again in %.0f s after: %s", RETRY_S, fault)
            self._retry = True
        self._refused, self._refused_now = self._refused_now, {}
        next_ms = [at for at in (planned.look_again_ms, self.blacklist.next_ms) if at is not None]
        again = min(next_ms) / 1000 if next_ms else float("inf")
        return min(again, trio.current_time() + RETRY_S) if self._retry else again

    def _seen(self) -> Seen:
        return self._memory.seen(self.tree, self.blacklist.workers)

    def _queued(self) -> Mapping[str, QueuedTask]:
        """The active tasks as the planner needs them; what has not changed since the last look is not read again."""
        known = self._queue_of
        self._queue_of = {
            row.id: kept if (kept := known.get(row.id)) is not None and kept[0] is row else (row, queued(row))
            for row in self.tasks.values()
        }
        return {task_id: task for task_id, (_, task) in self._queue_of.items()}

    # Acting

    async def _carry_out_alone(self, action: Action, nursery: trio.Nursery) -> None:
        """Carry out one action; what the tree refuses about it alone keeps no other from being carried out."""
        try:
            await self._carry_out(action, nursery)
        except _OF_ONE as fault:
            self._retry = True
            if self._refused.get(action) != str(fault):
                log.error("%s is refused, and tried again every %.0f s: %s", action, RETRY_S, fault)
            self._refused_now[action] = str(fault)

    async def _carry_out(self, action: Action, nursery: trio.Nursery) -> None:
        match action:
            case Assign(task_id, worker):
                await self._assign(task_id, worker)
            case Withdraw(task_id, worker):
                if await self._queue.withdraw(worker, task_id):
                    log.info("task %s is withdrawn from worker %s", task_id, worker)
                    row = self.tasks.get(task_id)
                    if row is not None and row.worker == worker:
                        self._memory.slow.add(worker)  # it was its own to claim, and it did not
                self._memory.withdrawn((worker, task_id))
                self._look_again()
            case Finish(task_id, worker):
                await self._end(action)
                if worker is not None:
                    self._judge(worker, task_id)
                    await self._queue.forget(worker, task_id)
            case Forget(task_id, worker):
                await self._queue.forget(worker, task_id)
            case Clear(worker):
                if await self._queue.clear(worker):
                    log.info("what worker %s left in the tree is removed", worker)
                self._memory.cleared(worker)
            case Stop(task_id, worker):
                if (worker, task_id) not in self._stopping:
                    self._stopping.add((worker, task_id))
                    nursery.start_soon(self._stop, worker, task_id)

    def _judge(self, worker: str, task_id: str) -> None:
        """A task has ended: note what it says of its worker, where the worker itself has told."""
        self.last_completed_ms[worker] = self._wall_ms()
        announcement = self.tree.statuses.get((worker, task_id))
        if announcement is None or not announcement.status.is_complete:
            return
        if announcement.status.state is TaskState.SUCCESS:
            self.blacklist.succeeded(worker)
        elif self.blacklist.failed(worker, len(self.tree.workers), monotonic_ms()):
            log.warning("worker %s gets no tasks for a while: too many have failed there in a row", worker)

    async def _assign(self, task_id: str, worker: str) -> None:
        row = self.tasks.get(task_id)
        if row is None:
            return
        if row.worker is not None and await self._queue.claimed(row.worker, task_id):
            return  # the view is about to show it
        attempt = await self.store.begin_attempt(self.leader, task_id, worker)
        if attempt is None:
            self.tasks.pop(task_id, None)
            return
        if task_id in self.tasks:
            self.tasks[task_id] = attrs.evolve(row, attempt=attempt, worker=worker)
        if await self._queue.assign(worker, task_id, row.payload, attempt):
            self._memory.assigned((worker, task_id), monotonic_ms())
            self.counts.assigned(row, self._wall_ms())
            log.info("task %s is assigned to worker %s, attempt %d", task_id, worker, attempt)
        else:
            self._retry = True

    async def _end(self, end: Finish) -> bool:
        """Record an end. The row goes from here only when it is in the store."""
        ended = await self.actions.end_task(end.status)
        row = self.tasks.pop(end.task_id, None)
        self._memory.ran.discard(end.task_id)
        if ended is not None:
            why = "" if ended.error_msg is None else f" ({ended.error_msg})"
            log.info("task %s: %s%s", end.task_id, ended.state.value, why)
            if row is not None:
                self.counts.ended(row, ended)
        self._look_again()
        return ended is not None

    async def _stop(self, worker: str, task_id: str) -> None:
        """Tell a worker once; the next look tells it again if the task still runs then."""
        await self.commands.stop(worker, task_id)
        await trio.sleep(STOP_AGAIN_S)
        self._stopping.discard((worker, task_id))
        self._look_again()
