"""Which worker gets a task. Pure. Druid's select strategies (documentation, "Worker select strategy")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import attrs

from druidroles.model.server import Worker


@attrs.frozen
class WorkerLoad:
    """A worker with what it has to do: slots in use (claimed and unclaimed) and the availability groups there."""

    worker: Worker
    used: int = 0
    groups: frozenset[str] = frozenset()

    @property
    def free(self) -> int:
        """Slots free."""
        return self.worker.capacity - self.used

    def can_run(self, required: int, group: str) -> bool:
        """Whether a task fits: enabled, slots enough, no other task of its availability group (ImmutableWorkerInfo)."""
        return self.worker.enabled and self.free >= required and group not in self.groups

    def with_task(self, required: int, group: str) -> WorkerLoad:
        """The load once it has one task more."""
        return attrs.evolve(self, used=self.used + required, groups=self.groups | {group})


class SelectStrategy(Protocol):
    """Picks among the workers that can run a task."""

    def __call__(self, eligible: Collection[WorkerLoad]) -> WorkerLoad:
        """One of them; there is at least one."""
        ...


def equal_distribution(eligible: Collection[WorkerLoad]) -> WorkerLoad:
    """The one with most free slots; by name where they are equal, so that a plan can be repeated."""
    return min(eligible, key=lambda load: (-load.free, load.worker.host))


def fill_capacity(eligible: Collection[WorkerLoad]) -> WorkerLoad:
    """The one with most slots in use, so that others may be stopped."""
    return min(eligible, key=lambda load: (-load.used, load.worker.host))


STRATEGIES: Mapping[str, SelectStrategy] = {
    "equalDistribution": equal_distribution,
    "fillCapacity": fill_capacity,
}


def choose(loads: Iterable[WorkerLoad], required: int, group: str, strategy: SelectStrategy) -> WorkerLoad | None:
    """The worker for a task, None if none has room now."""
    eligible = [load for load in loads if load.can_run(required, group)]
    return strategy(eligible) if eligible else None
