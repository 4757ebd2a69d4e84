"""What the planner looks at and what it decides, as values."""

from __future__ import annotations

from collections.abc import Mapping, Set

import attrs

from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskStatus
from druidroles.overlord.planning.select import Need, SelectStrategy, TaskLimits, equal_distribution

Place = tuple[str, str]  # (worker host:port, task id)


@attrs.frozen(kw_only=True)
class QueuedTask:
    """An active task as the planner needs it. `attempt` 0: never assigned; `worker` is that of the newest attempt.

    `supervisor` is the task that a sub-task works for, and ends with; `sub_tasks` tells a task that has some.
    """

    id: str
    availability_group: str
    required_capacity: int = 1
    attempt: int = 0
    worker: str | None = None
    type: str = ""
    data_source: str = ""
    supervisor: str | None = None
    sub_tasks: bool = False

    @property
    def need(self) -> Need:
        """What its worker must have."""
        return Need(
            type=self.type,
            data_source=self.data_source,
            required=self.required_capacity,
            group=self.availability_group,
            sub_tasks=self.sub_tasks,
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
class QueueTimeouts:
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
