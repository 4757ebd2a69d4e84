"""Which worker gets a task. Pure. Druid's select strategies (documentation, "Worker select strategy").

A strategy is an order among workers (most free slots, or most used ones) behind a preference: for a datasource's own
workers (affinity), or for those of a category. A weak preference falls back to other workers, a strong one waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import attrs

from druidroles.model.server import Worker

INDEX_PARALLEL = "index_parallel"  # only these count towards the share of slots that supervisors may take
SUB_TASK = "single_phase_sub_task"


@attrs.frozen(kw_only=True)
class Need:
    """What choosing a worker has to know of a task."""

    type: str = ""
    data_source: str = ""
    required: int = 1
    group: str = ""
    sub_tasks: bool = False  # it waits in its slot for tasks of its own


@attrs.frozen
class WorkerLoad:
    """A worker with what it has to do: slots in use (claimed and unclaimed) and the availability groups there.

    Of the used slots `parallel` are those of `index_parallel` tasks, `waiting` of those that wait for sub-tasks.
    """

    worker: Worker
    used: int = 0
    groups: frozenset[str] = frozenset()
    parallel: int = 0
    waiting: int = 0

    @property
    def free(self) -> int:
        """Slots free."""
        return self.worker.capacity - self.used

    def can_run(self, need: Need, parallel_ratio: float = 1.0) -> bool:
        """Whether a task fits: enabled, slots enough, no other task of its availability group (ImmutableWorkerInfo).

        Supervisors of parallel ingestions take at most their ratio of the slots, and one in any case: where they took
        all there would be none left for the tasks they wait for.
        """
        if not self.worker.enabled or self.free < need.required or need.group in self.groups:
            return False
        if need.type != INDEX_PARALLEL:
            return True
        return self.parallel + need.required <= max(1, int(parallel_ratio * self.worker.capacity))

    def with_task(self, need: Need) -> WorkerLoad:
        """The load once it has one task more."""
        return attrs.evolve(
            self,
            used=self.used + need.required,
            groups=self.groups | {need.group},
            parallel=self.parallel + (need.required if need.type == INDEX_PARALLEL else 0),
            waiting=self.waiting + (need.required if need.sub_tasks else 0),
        )


Order = Callable[[Collection[WorkerLoad]], WorkerLoad]


class SelectStrategy(Protocol):
    """Picks among the workers that can run a task."""

    def __call__(self, eligible: Sequence[WorkerLoad], need: Need) -> WorkerLoad | None:
        """One of them; None if the task shall rather wait for another worker."""
        ...


def most_free(eligible: Collection[WorkerLoad]) -> WorkerLoad:
    """The one with most free slots; by name where they are equal, so that a plan can be repeated."""
    return min(eligible, key=lambda load: (-load.free, load.worker.host))


def most_used(eligible: Collection[WorkerLoad]) -> WorkerLoad:
    """The one with most slots in use, so that others may be stopped."""
    return min(eligible, key=lambda load: (-load.used, load.worker.host))


def _first(order: Order, eligible: Collection[WorkerLoad]) -> WorkerLoad | None:
    return order(eligible) if eligible else None


@attrs.frozen
class Affinity:
    """`affinityConfig`: workers by datasource. They serve only the datasources that name them."""

    workers: Mapping[str, frozenset[str]]
    strong: bool = False

    def choose(self, order: Order, eligible: Sequence[WorkerLoad], need: Need) -> WorkerLoad | None:
        """One of the datasource's own workers if there is room; else, unless strong, one that is nobody's own."""
        own = self.workers.get(need.data_source)
        if own is not None:
            chosen = _first(order, [load for load in eligible if load.worker.host in own])
            if chosen is not None or self.strong:
                return chosen
        taken = frozenset[str]().union(*self.workers.values())
        return _first(order, [load for load in eligible if load.worker.host not in taken])


@attrs.frozen
class Category:
    """An entry of `categoryMap`: where the tasks of one type belong."""

    default: str | None = None
    by_data_source: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Categories:
    """`workerCategorySpec`: categories of workers by type of task."""

    by_type: Mapping[str, Category]
    strong: bool = False

    def choose(self, order: Order, eligible: Sequence[WorkerLoad], need: Need) -> WorkerLoad | None:
        """One of the preferred category; else, unless strong, any. Where none is preferred, any."""
        category = self.by_type.get(need.type)
        wanted = None if category is None else category.by_data_source.get(need.data_source, category.default)
        if wanted is None:
            return _first(order, eligible)
        chosen = _first(order, [load for load in eligible if load.worker.category == wanted])
        return chosen if chosen is not None or self.strong else _first(order, eligible)


@attrs.frozen
class Strategy:
    """An order, and what is preferred before it."""

    order: Order
    preference: Affinity | Categories | None = None

    def __call__(self, eligible: Sequence[WorkerLoad], need: Need) -> WorkerLoad | None:
        """See SelectStrategy."""
        if self.preference is None:
            return _first(self.order, eligible)
        return self.preference.choose(self.order, eligible, need)


equal_distribution = Strategy(most_free)
fill_capacity = Strategy(most_used)

STRATEGIES: Mapping[str, Strategy] = {"equalDistribution": equal_distribution, "fillCapacity": fill_capacity}


@attrs.frozen
class TaskLimits:
    """`taskLimits`: how many slots of all the tasks of a type may have; of number and ratio the smaller wins."""

    slots: Mapping[str, int] = attrs.field(factory=dict)
    ratios: Mapping[str, float] = attrs.field(factory=dict)

    def allow(self, need: Need, used: int, capacity: int) -> bool:
        """Whether one more task of the type may run where its type has `used` of `capacity` slots."""
        limits = []
        if need.type in self.slots:
            limits.append(self.slots[need.type])
        if need.type in self.ratios:
            limits.append(max(1, int(self.ratios[need.type] * capacity)))
        return all(used + need.required <= limit for limit in limits)


def choose(
    loads: Iterable[WorkerLoad], need: Need, strategy: SelectStrategy, parallel_ratio: float = 1.0
) -> WorkerLoad | None:
    """The worker for a task, None if none has room now."""
    eligible = [load for load in loads if load.can_run(need, parallel_ratio)]
    return strategy(eligible, need) if eligible else None
