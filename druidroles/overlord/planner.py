"""What the leading Overlord has to do about its tasks, decided from what it sees. Pure.

An active task is in one of these states, told by two subtrees alone:

    no assignment, no status     pending: may be assigned
    assignment, no status        assigned: its worker has not claimed it yet; may still be withdrawn
    status RUNNING               claimed: it runs, or its worker is about to say why not
    status SUCCESS or FAILED     ended: to be recorded in the store, then the status goes

A worker claims by one transaction that deletes the assignment and creates the status, so a task is never in two of
these, and once its assignment is gone without a status nobody can start it any more. Each assignment is counted in the
store first (the attempt), and only the newest attempt can publish; whatever else is found running is told to stop.

A worker that does not claim what it was given is slow: what waits for it goes to another that has room, and it gets no
more than one assignment at a time, for want of a better one, until it claims again. So one bad worker holds up nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set

import attrs

from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskStatus
from druidroles.overlord.select import (
    Need,
    SelectStrategy,
    TaskLimits,
    WorkerLoad,
    choose,
    equal_distribution,
)

Place = tuple[str, str]  # (worker host:port, task id)


@attrs.frozen(kw_only=True)
class QueuedTask:
    """An active task as the planner needs it. `attempt` 0: never assigned; `worker` is that of the newest attempt.

    `supervisor` is the task that a sub-task works for, and ends with.
    """

    id: str
    availability_group: str
    required_capacity: int = 1
    attempt: int = 0
    worker: str | None = None
    type: str = ""
    data_source: str = ""
    supervisor: str | None = None

    @property
    def need(self) -> Need:
        """What its worker must have."""
        return Need(
            type=self.type,
            data_source=self.data_source,
            required=self.required_capacity,
            group=self.availability_group,
        )


@attrs.frozen(kw_only=True)
class Seen:
    """The tree as the Overlord sees it.

    `assignments` are the unclaimed ones with the time at which each was first seen. `gone_since` holds when a worker
    that still has statuses, or directories for them, was last announced. `ran` are tasks whose claim this leader has
    seen. `barred` are workers that get no tasks (the blacklist), `slow` those from which an assignment was taken back
    and that claimed none since.
    """

    workers: Mapping[str, Worker]
    assignments: Mapping[Place, int]
    statuses: Mapping[Place, TaskAnnouncement]
    gone_since: Mapping[str, int] = attrs.field(factory=dict)
    ran: Set[str] = frozenset()
    barred: Set[str] = frozenset()
    slow: Set[str] = frozenset()


@attrs.frozen(kw_only=True)
class Limits:
    """Druid's timeouts, `taskAssignmentTimeout` PT5M and `taskCleanupTimeout` PT15M; and ours: how long a worker may
    leave an assignment unclaimed before another gets it that has room.
    """

    assignment_timeout_ms: int = 300_000
    cleanup_timeout_ms: int = 900_000
    slow_claim_ms: int = 5_000


@attrs.frozen
class Policy:
    """How tasks are spread: the strategy, limits by type of task, and Druid's `parallelIndexTaskSlotRatio`."""

    strategy: SelectStrategy = equal_distribution
    task_limits: TaskLimits = attrs.field(factory=TaskLimits)
    parallel_ratio: float = 1.0


@attrs.frozen
class Assign:
    """Give a pending task to a worker."""

    task_id: str
    worker: str


@attrs.frozen
class Withdraw:
    """Take an unclaimed assignment back."""

    task_id: str
    worker: str


@attrs.frozen
class Finish:
    """Record how a task ended; then its status may go."""

    task_id: str
    worker: str | None
    status: TaskStatus


@attrs.frozen
class Forget:
    """Remove a status that says nothing any more."""

    task_id: str
    worker: str


@attrs.frozen
class Stop:
    """Tell a worker to end a task that should not run there."""

    task_id: str
    worker: str


@attrs.frozen
class Clear:
    """Remove the empty directories of a worker that is gone for good."""

    worker: str


Action = Assign | Withdraw | Finish | Forget | Stop | Clear


@attrs.frozen
class Plan:
    """Actions in the order to be carried out, and when to look again though nothing happens (None: need not)."""

    actions: tuple[Action, ...]
    look_again_ms: int | None = None


class _Clock:
    """Collects the earliest instant at which a timeout would change the plan."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.next_ms: int | None = None

    def passed(self, deadline_ms: int) -> bool:
        if self.now_ms >= deadline_ms:
            return True
        self.next_ms = deadline_ms if self.next_ms is None else min(self.next_ms, deadline_ms)
        return False


def plan(tasks: Mapping[str, QueuedTask], seen: Seen, now_ms: int, limits: Limits, policy: Policy) -> Plan:
    """What to do now. `tasks` are the active ones in the order in which they shall be assigned."""
    clock = _Clock(now_ms)
    actions: list[Action] = []
    placed: set[str] = set()
    ended: set[str] = set()
    late: list[Place] = []
    for place, announcement in seen.statuses.items():
        if _is_current(tasks, place):
            placed.add(place[1])
        for action in _about_status(tasks.get(place[1]), place, announcement, seen, clock, limits):
            actions.append(action)
            if isinstance(action, Finish):
                ended.add(action.task_id)
    for place, since_ms in seen.assignments.items():
        if place in seen.statuses:
            continue  # the two views are read one after the other: it has been claimed
        placed.add(place[1])
        if _should_withdraw(tasks, place, since_ms, seen, clock, limits):
            actions.append(Withdraw(place[1], place[0]))
        elif clock.passed(since_ms + limits.slow_claim_ms):
            late.append(place)
    pending = []
    for task in tasks.values():
        if task.id in ended:
            continue
        if task.supervisor is not None and task.supervisor not in tasks:
            actions.append(Finish(task.id, None, TaskStatus.failure(task.id, _ORPHANED)))
        elif task.id in placed:
            continue
        elif task.id in seen.ran:
            actions.append(Finish(task.id, task.worker, TaskStatus.failure(task.id, _DISAPPEARED)))
        else:
            pending.append(task)
    actions += _clear(seen, clock, limits)
    room = _Room(seen, tasks, policy, {host for host, _ in late})
    actions += room.take_back(late)
    actions += room.give(pending)
    return Plan(tuple(actions), clock.next_ms)


_ORPHANED = "its supervisor task has ended"
_DISAPPEARED = "the status of the task disappeared from its worker"
_WORKER_GONE = "the worker of the task went away and did not come back in time"


def _is_current(tasks: Mapping[str, QueuedTask], place: Place) -> bool:
    task = tasks.get(place[1])
    return task is not None and task.worker == place[0]


def _about_status(
    task: QueuedTask | None,
    place: Place,
    announcement: TaskAnnouncement,
    seen: Seen,
    clock: _Clock,
    limits: Limits,
) -> list[Action]:
    worker, task_id = place
    status = announcement.status
    gone_since = seen.gone_since.get(worker) if worker not in seen.workers else None
    gone = gone_since is not None and clock.passed(gone_since + limits.cleanup_timeout_ms)
    if task is None or task.worker != worker:
        # Ended, shut down, or given to another worker since.
        return [Forget(task_id, worker)] if status.is_complete or gone else [Stop(task_id, worker)]
    if status.is_complete:
        return [Finish(task_id, worker, status)]
    if gone:
        return [Finish(task_id, worker, TaskStatus.failure(task_id, _WORKER_GONE))]
    return []


def _should_withdraw(
    tasks: Mapping[str, QueuedTask], place: Place, since_ms: int, seen: Seen, clock: _Clock, limits: Limits
) -> bool:
    if not _is_current(tasks, place):
        return True
    worker = seen.workers.get(place[0])
    # A worker that is away does not claim; one that only reconnects keeps its announcement meanwhile.
    return worker is None or clock.passed(since_ms + limits.assignment_timeout_ms)


def _clear(seen: Seen, clock: _Clock, limits: Limits) -> list[Action]:
    """Workers come and go under ever new addresses; what those leave that do not come back shall not pile up."""
    busy = {host for host, _ in (*seen.statuses, *seen.assignments)}
    return [
        Clear(host)
        for host, since_ms in seen.gone_since.items()
        if host not in seen.workers and host not in busy and clock.passed(since_ms + limits.cleanup_timeout_ms)
    ]


def loads(seen: Seen, tasks: Mapping[str, QueuedTask]) -> list[WorkerLoad]:
    """The announced workers with the slots that claimed and unclaimed tasks take, ordered by host."""
    used: dict[str, WorkerLoad] = {host: WorkerLoad(worker) for host, worker in sorted(seen.workers.items())}
    for host, need in _placed(seen, tasks):
        if host in used:
            used[host] = used[host].with_task(need)
    return list(used.values())


def _placed(seen: Seen, tasks: Mapping[str, QueuedTask]) -> Iterable[tuple[str, Need]]:
    """Each task that takes slots of a worker, claimed or not, with that worker."""
    for (host, _), announcement in seen.statuses.items():
        if not announcement.status.is_complete:
            yield (
                host,
                Need(
                    type=announcement.type,
                    data_source=announcement.data_source,
                    required=announcement.required_capacity,
                    group=announcement.availability_group,
                ),
            )
    for host, task_id in seen.assignments:
        if (host, task_id) not in seen.statuses:
            yield host, (tasks.get(task_id) or QueuedTask(id=task_id, availability_group=task_id)).need


class _Room:
    """The free slots of the workers, while a plan gives them away one by one."""

    def __init__(self, seen: Seen, tasks: Mapping[str, QueuedTask], policy: Policy, late: Set[str]) -> None:
        everybody = loads(seen, tasks)
        self._tasks = tasks
        self._policy = policy
        self._open = {load.worker.host: load for load in everybody if _has_room(load)}
        for host in seen.barred:
            self._open.pop(host, None)
        self._slow = seen.slow | late
        self._busy = {host for host, task_id in seen.assignments if (host, task_id) not in seen.statuses}
        self._capacity = sum(load.worker.capacity for load in everybody)
        self._by_type: Counter[str] = Counter()
        for _, need in _placed(seen, tasks):
            self._by_type[need.type] += need.required

    def take_back(self, late: Iterable[Place]) -> list[Action]:
        """Withdraw what is left unclaimed and could be at another worker, whose slots are kept for it in this plan."""
        actions: list[Action] = []
        for host, task_id in late:
            task = self._tasks[task_id]
            chosen = self._choose(task.need, [load for name, load in self._open.items() if name not in self._slow])
            if chosen is not None:
                self._take(chosen, task.need)
                actions.append(Withdraw(task_id, host))
        return actions

    def give(self, pending: Iterable[QueuedTask]) -> list[Action]:
        """Assign what can be assigned, in order; what does not fit lets what comes after it pass."""
        actions: list[Action] = []
        for task in pending:
            if not self._open:
                break  # thousands may wait; without a slot none is looked at
            need = task.need
            if not self._policy.task_limits.allow(need, self._by_type[need.type], self._capacity):
                continue
            chosen = self._choose(need, [load for name, load in self._open.items() if name not in self._slow])
            if chosen is None:
                slow = [load for name, load in self._open.items() if name in self._slow and name not in self._busy]
                chosen = self._choose(need, slow)
            if chosen is not None:
                self._by_type[need.type] += need.required
                self._busy.add(chosen.worker.host)
                self._take(chosen, need)
                actions.append(Assign(task.id, chosen.worker.host))
        return actions

    def _choose(self, need: Need, among: list[WorkerLoad]) -> WorkerLoad | None:
        return choose(among, need, self._policy.strategy, self._policy.parallel_ratio)

    def _take(self, load: WorkerLoad, need: Need) -> None:
        load = load.with_task(need)
        if _has_room(load):
            self._open[load.worker.host] = load
        else:
            del self._open[load.worker.host]


def _has_room(load: WorkerLoad) -> bool:
    return load.worker.enabled and load.free > 0
