"""What the leading Overlord has to do about its tasks, decided from what it sees. Pure.

An active task is in one of these states, told by two subtrees alone:

    no assignment, no status     pending: may be assigned
    assignment, no status        assigned: its worker has not claimed it yet; may still be withdrawn
    status RUNNING               claimed: it runs, or its worker is about to say why not
    status SUCCESS or FAILED     ended: to be recorded in the store, then the status goes

A worker claims by one transaction that deletes the assignment and creates the status, so a task is never in two of
these, and once its assignment is gone without a status nobody can start it any more. Each assignment is counted in the
store first (the attempt), and only the newest attempt can publish; whatever else is found running is told to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import attrs

from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskStatus
from druidroles.overlord.select import SelectStrategy, WorkerLoad, choose

Place = tuple[str, str]  # (worker host:port, task id)


@attrs.frozen(kw_only=True)
class QueuedTask:
    """An active task as the planner needs it. `attempt` 0: never assigned; `worker` is that of the newest attempt."""

    id: str
    availability_group: str
    required_capacity: int = 1
    attempt: int = 0
    worker: str | None = None


@attrs.frozen(kw_only=True)
class Seen:
    """The tree as the Overlord sees it.

    `assignments` are the unclaimed ones with the time at which each was first seen. `gone_since` holds when a worker
    that still has statuses was last announced. `ran` are tasks whose claim this leader has seen.
    """

    workers: Mapping[str, Worker]
    assignments: Mapping[Place, int]
    statuses: Mapping[Place, TaskAnnouncement]
    gone_since: Mapping[str, int] = attrs.field(factory=dict)
    ran: Set[str] = frozenset()


@attrs.frozen(kw_only=True)
class Limits:
    """Druid's timeouts: `taskAssignmentTimeout` PT5M, `taskCleanupTimeout` PT15M."""

    assignment_timeout_ms: int = 300_000
    cleanup_timeout_ms: int = 900_000


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


Action = Assign | Withdraw | Finish | Forget | Stop


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


def plan(tasks: Mapping[str, QueuedTask], seen: Seen, now_ms: int, limits: Limits, strategy: SelectStrategy) -> Plan:
    """What to do now. `tasks` are the active ones in the order in which they shall be assigned."""
    clock = _Clock(now_ms)
    actions: list[Action] = []
    placed: set[str] = set()
    for place, announcement in seen.statuses.items():
        if _is_current(tasks, place):
            placed.add(place[1])
        actions += _about_status(tasks.get(place[1]), place, announcement, seen, clock, limits)
    for place, since_ms in seen.assignments.items():
        if place in seen.statuses:
            continue  # the two views are read one after the other: it has been claimed
        if _should_withdraw(tasks, place, since_ms, seen, clock, limits):
            actions.append(Withdraw(place[1], place[0]))
        placed.add(place[1])
    pending = []
    for task in tasks.values():
        if task.id in placed:
            continue
        if task.id in seen.ran:
            actions.append(Finish(task.id, task.worker, TaskStatus.failure(task.id, _DISAPPEARED)))
        else:
            pending.append(task)
    actions += _assign(pending, loads(seen, tasks), strategy)
    return Plan(tuple(actions), clock.next_ms)


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


def loads(seen: Seen, tasks: Mapping[str, QueuedTask]) -> list[WorkerLoad]:
    """The announced workers with the slots that claimed and unclaimed tasks take, ordered by host."""
    used: dict[str, WorkerLoad] = {host: WorkerLoad(worker) for host, worker in sorted(seen.workers.items())}
    for (host, _), announcement in seen.statuses.items():
        if host in used and not announcement.status.is_complete:
            used[host] = used[host].with_task(announcement.required_capacity, announcement.availability_group)
    for host, task_id in seen.assignments:
        if host in used and (host, task_id) not in seen.statuses:
            task = tasks.get(task_id) or QueuedTask(id=task_id, availability_group=task_id)
            used[host] = used[host].with_task(task.required_capacity, task.availability_group)
    return list(used.values())


def _assign(pending: Iterable[QueuedTask], available: Iterable[WorkerLoad], strategy: SelectStrategy) -> list[Action]:
    by_host = {load.worker.host: load for load in available}
    actions: list[Action] = []
    for task in pending:
        chosen = choose(by_host.values(), task.required_capacity, task.availability_group, strategy)
        if chosen is not None:
            host = chosen.worker.host
            by_host[host] = chosen.with_task(task.required_capacity, task.availability_group)
            actions.append(Assign(task.id, host))
    return actions
