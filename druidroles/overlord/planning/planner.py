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

from collections.abc import Mapping

from druidroles.model.task import TaskAnnouncement, TaskStatus
from druidroles.overlord.planning.slots import Slots
from druidroles.overlord.planning.values import (
    Action,
    Clear,
    Finish,
    Forget,
    Place,
    Plan,
    Policy,
    QueuedTask,
    QueueTimeouts,
    Seen,
    Stop,
    Withdraw,
)


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


def plan(tasks: Mapping[str, QueuedTask], seen: Seen, now_ms: int, limits: QueueTimeouts, policy: Policy) -> Plan:
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
    room = Slots(seen, tasks, policy, {host for host, _ in late})
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
    limits: QueueTimeouts,
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
    tasks: Mapping[str, QueuedTask], place: Place, since_ms: int, seen: Seen, clock: _Clock, limits: QueueTimeouts
) -> bool:
    if not _is_current(tasks, place):
        return True
    worker = seen.workers.get(place[0])
    # A worker that is away does not claim; one that only reconnects keeps its announcement meanwhile.
    return worker is None or clock.passed(since_ms + limits.assignment_timeout_ms)


def _clear(seen: Seen, clock: _Clock, limits: QueueTimeouts) -> list[Action]:
    """Workers come and go under ever new addresses; what those leave that do not come back shall not pile up."""
    busy = {host for host, _ in (*seen.statuses, *seen.assignments)}
    return [
        Clear(host)
        for host, since_ms in seen.gone_since.items()
        if host not in seen.workers and host not in busy and clock.passed(since_ms + limits.cleanup_timeout_ms)
    ]
