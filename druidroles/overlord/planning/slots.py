"""Who has room for what: the slots of the workers, and how one plan gives them away. Pure.

A task that waits for sub-tasks keeps its slot meanwhile. Were such tasks to take every slot, all of them would wait
for ever; Druid leaves it to `parallelIndexTaskSlotRatio`, by default 1, whether that happens. Here one is only started
where a slot is left, of none that waits, in which its sub-tasks can run one after the other. In a cluster of one slot
it may run: it does its work itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from druidroles.overlord.planning.select import SUB_TASK, Need, WorkerLoad, choose
from druidroles.overlord.planning.values import Action, Assign, Place, Policy, QueuedTask, Seen, Withdraw


def loads(seen: Seen, tasks: Mapping[str, QueuedTask]) -> list[WorkerLoad]:
    """The announced workers with the slots that claimed and unclaimed tasks take, ordered by host."""
    used: dict[str, WorkerLoad] = {host: WorkerLoad(worker) for host, worker in sorted(seen.workers.items())}
    for host, need in _placed(seen, tasks):
        if host in used:
            used[host] = used[host].with_task(need)
    return list(used.values())


def _placed(seen: Seen, tasks: Mapping[str, QueuedTask]) -> Iterable[tuple[str, Need]]:
    """Each task that takes slots of a worker, claimed or not, with that worker."""
    for (host, task_id), announcement in seen.statuses.items():
        if not announcement.status.is_complete:
            task = tasks.get(task_id)
            yield (
                host,
                Need(
                    type=announcement.type,
                    data_source=announcement.data_source,
                    required=announcement.required_capacity,
                    group=announcement.availability_group,
                    sub_tasks=task is not None and task.sub_tasks,
                ),
            )
    for host, task_id in seen.assignments:
        if (host, task_id) not in seen.statuses:
            yield host, (tasks.get(task_id) or QueuedTask(id=task_id, availability_group=task_id)).need


class Slots:
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
        self._all = {load.worker.host: load for load in everybody if load.worker.enabled}
        self._hopeless: set[tuple[str, str, int, bool]] = set()
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
            if (need.type, need.data_source, need.required, need.sub_tasks) in self._hopeless:
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
            elif not any(need.group in load.groups for load in self._open.values()):
                # Slots only shrinks while a plan is made: none of the thousands like it is looked at.
                self._hopeless.add((need.type, need.data_source, need.required, need.sub_tasks))
        return actions

    def _choose(self, need: Need, among: list[WorkerLoad]) -> WorkerLoad | None:
        if need.sub_tasks:
            among = [load for load in among if self._leaves_a_slot(load, need)]
        return choose(among, need, self._policy.strategy, self._policy.parallel_ratio)

    def _leaves_a_slot(self, load: WorkerLoad, need: Need) -> bool:
        """Whether the sub-tasks of a task at this worker could run, once all is over that does not wait itself."""
        if sum(one.worker.capacity for one in self._all.values()) == need.required:
            return True
        waiting = [
            WorkerLoad(one.worker, one.waiting + (need.required if host == load.worker.host else 0))
            for host, one in self._all.items()
        ]
        sub_task = Need(type=SUB_TASK, data_source=need.data_source)
        return choose(waiting, sub_task, self._policy.strategy) is not None

    def _take(self, load: WorkerLoad, need: Need) -> None:
        load = load.with_task(need)
        self._all[load.worker.host] = load
        if _has_room(load):
            self._open[load.worker.host] = load
        else:
            del self._open[load.worker.host]


def _has_room(load: WorkerLoad) -> bool:
    return load.worker.enabled and load.free > 0
