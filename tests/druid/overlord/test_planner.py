"""What the Overlord does about its tasks, state by state, and over random histories never a task twice."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from druidroles.model.server import Worker
from druidroles.model.task import TaskAnnouncement, TaskStatus
from druidroles.overlord.planning.planner import plan
from druidroles.overlord.planning.select import (
    Affinity,
    Strategy,
    TaskLimits,
    equal_distribution,
    fill_capacity,
    most_free,
)
from druidroles.overlord.planning.values import (
    Action,
    Assign,
    Clear,
    Finish,
    Forget,
    Plan,
    Policy,
    QueuedTask,
    QueueTimeouts,
    Seen,
    Stop,
    Withdraw,
)

LIMITS = QueueTimeouts(assignment_timeout_ms=100, cleanup_timeout_ms=1000)
NOTHING = Seen(workers={}, assignments={}, statuses={})


def workers(**capacities: int) -> dict[str, Worker]:
    return {name: Worker(host=name, capacity=capacity) for name, capacity in capacities.items()}


def tasks(*queued: QueuedTask) -> dict[str, QueuedTask]:
    return {task.id: task for task in queued}


def task(task_id: str, worker: str | None = None, **more: object) -> QueuedTask:
    values: dict[str, object] = {"availability_group": task_id, "attempt": 1 if worker else 0, **more}
    return QueuedTask(id=task_id, worker=worker, **values)  # type: ignore[arg-type]


def announced(task_id: str, status: TaskStatus | None = None, capacity: int = 1) -> TaskAnnouncement:
    return TaskAnnouncement(status or TaskStatus.running(task_id), "noop", "flights", task_id, capacity)


def planned(queue: dict[str, QueuedTask], seen: Seen, now_ms: int = 0) -> Plan:
    return plan(queue, seen, now_ms, LIMITS, Policy())


def actions(queue: dict[str, QueuedTask], seen: Seen, now_ms: int = 0) -> tuple[Action, ...]:
    return planned(queue, seen, now_ms).actions


def test_tasks_that_wait_for_sub_tasks_leave_a_slot_to_them() -> None:
    """The last slot is for what does not wait; with one slot in all there is nobody to wait for."""
    waiting = [task(f"t{n}", type="index_parallel", sub_tasks=True) for n in range(3)]
    seen = attrs.evolve(NOTHING, workers=workers(a=1, b=2))
    assert actions(tasks(*waiting), seen) == (Assign("t0", "b"), Assign("t1", "a"))
    sub_task = task("s", type="single_phase_sub_task", supervisor="t0")
    placed = attrs.evolve(seen, statuses={("b", "t0"): announced("t0"), ("a", "t1"): announced("t1")})
    running = [attrs.evolve(waiting[0], worker="b", attempt=1), attrs.evolve(waiting[1], worker="a", attempt=1)]
    assert actions(tasks(*running, waiting[2], sub_task), placed) == (Assign("s", "b"),)
    assert actions(tasks(waiting[0]), attrs.evolve(NOTHING, workers=workers(a=1))) == (Assign("t0", "a"),)


def test_sub_tasks_are_left_a_slot_that_their_datasource_may_use() -> None:
    """A slot of another datasource's own workers is none for them."""
    trains = Strategy(most_free, Affinity({"trains": frozenset({"b"})}))
    seen = attrs.evolve(NOTHING, workers=workers(a=1, b=1))
    waiting = task("t", type="index_parallel", data_source="planes", sub_tasks=True)
    assert plan(tasks(waiting), seen, 0, LIMITS, Policy(trains)).actions == ()
    alone = attrs.evolve(waiting, sub_tasks=False)
    assert plan(tasks(alone), seen, 0, LIMITS, Policy(trains)).actions == (Assign("t", "a"),)


def test_pending_tasks_go_to_free_slots_in_their_order() -> None:
    seen = attrs.evolve(NOTHING, workers=workers(a=1, b=2))
    assert actions(tasks(task("t1"), task("t2"), task("t3"), task("t4")), seen) == (
        Assign("t1", "b"),
        Assign("t2", "a"),
        Assign("t3", "b"),
    )


def test_slots_of_claimed_and_unclaimed_tasks_are_taken() -> None:
    seen = Seen(workers=workers(a=3), assignments={("a", "t1"): 0}, statuses={("a", "t2"): announced("t2", capacity=2)})
    queue = tasks(task("t1", "a"), task("t2", "a"), task("t3"))
    assert actions(queue, seen) == ()
    done = announced("t2", TaskStatus.success("t2", 5), capacity=2)
    seen = attrs.evolve(seen, statuses={("a", "t2"): done})
    assert actions(queue, seen) == (Finish("t2", "a", done.status), Assign("t3", "a"))


def test_disabled_workers_big_tasks_and_availability_groups() -> None:
    disabled = {"a": Worker(host="a", capacity=5, version="")}
    assert actions(tasks(task("t1")), attrs.evolve(NOTHING, workers=disabled)) == ()
    assert actions(tasks(task("t1", required_capacity=2)), attrs.evolve(NOTHING, workers=workers(a=1))) == ()
    replicas = tasks(task("t1", availability_group="g"), task("t2", availability_group="g"))
    assert actions(replicas, attrs.evolve(NOTHING, workers=workers(a=5))) == (Assign("t1", "a"),)


def test_the_fullest_worker_that_fits_where_that_is_the_strategy() -> None:
    seen = Seen(workers=workers(a=5, b=2), assignments={}, statuses={("b", "t0"): announced("t0")})
    queue = tasks(task("t0", "b"), task("t1"))
    assert plan(queue, seen, 0, LIMITS, Policy(fill_capacity)).actions == (Assign("t1", "b"),)
    assert plan(queue, seen, 0, LIMITS, Policy(equal_distribution)).actions == (Assign("t1", "a"),)


def test_an_assignment_is_withdrawn_when_nobody_claims_it() -> None:
    queue = tasks(task("t1", "a"))
    seen = Seen(workers=workers(a=1), assignments={("a", "t1"): 50}, statuses={})
    waiting = planned(queue, seen, 60)
    assert waiting == Plan((), 150)
    assert planned(queue, seen, 150) == Plan((Withdraw("t1", "a"),), None)
    assert actions(queue, attrs.evolve(seen, workers={}), 60) == (Withdraw("t1", "a"),)
    assert actions({}, seen, 60) == (Withdraw("t1", "a"),)
    assert actions(tasks(task("t1", "b")), seen, 60) == (Withdraw("t1", "a"),)


def test_a_claim_seen_before_its_assignment_went_counts() -> None:
    seen = Seen(workers=workers(a=1), assignments={("a", "t1"): 0}, statuses={("a", "t1"): announced("t1")})
    assert actions(tasks(task("t1", "a")), seen, 500) == ()


def test_a_running_task_whose_worker_is_gone_fails_after_the_timeout() -> None:
    queue = tasks(task("t1", "a"))
    seen = Seen(workers={}, assignments={}, statuses={("a", "t1"): announced("t1")}, gone_since={"a": 100})
    assert planned(queue, seen, 500) == Plan((), 1100)
    (finish,) = actions(queue, seen, 1100)
    assert isinstance(finish, Finish)
    assert "went away" in (finish.status.error_msg or "")
    assert actions(queue, attrs.evolve(seen, workers=workers(a=1)), 1100) == ()


def test_a_status_that_vanishes_fails_the_task_but_an_unclaimed_one_is_assigned_again() -> None:
    queue = tasks(task("t1", "a"))
    seen = attrs.evolve(NOTHING, workers=workers(b=1))
    assert actions(queue, seen) == (Assign("t1", "b"),)
    (finish,) = actions(queue, attrs.evolve(seen, ran={"t1"}))
    assert isinstance(finish, Finish)
    assert "disappeared" in (finish.status.error_msg or "")


def test_what_runs_but_should_not_is_stopped_and_then_forgotten() -> None:
    seen = Seen(workers=workers(a=1, b=1), assignments={}, statuses={("a", "t1"): announced("t1")})
    assert actions({}, seen) == (Stop("t1", "a"),)
    assert actions(tasks(task("t1", "b")), seen) == (Stop("t1", "a"), Assign("t1", "b"))
    over = attrs.evolve(seen, statuses={("a", "t1"): announced("t1", TaskStatus.failure("t1", "killed"))})
    assert actions({}, over) == (Forget("t1", "a"),)
    gone = Seen(workers={}, assignments={}, statuses=seen.statuses, gone_since={"a": 0})
    assert actions({}, gone, 1000) == (Forget("t1", "a"),)


def test_one_worker_that_does_not_claim_holds_up_nothing() -> None:
    """#2497: what it was given goes to another that has room; then it gets one task at a time, for want of a better."""
    limits = QueueTimeouts(slow_claim_ms=50)
    queue = tasks(task("t1", "a"), task("t2", "a"), task("t3"))
    seen = Seen(workers=workers(a=9, b=2), assignments={("a", "t1"): 0, ("a", "t2"): 0}, statuses={})
    assert plan(queue, seen, 49, limits, Policy()) == Plan((Assign("t3", "a"),), 50)
    moved = plan(queue, seen, 50, limits, Policy()).actions
    assert moved == (Withdraw("t1", "a"), Withdraw("t2", "a"))  # the slots of b are kept for them
    after = attrs.evolve(seen, assignments={}, slow={"a"})
    assert plan(queue, after, 51, limits, Policy()).actions == (Assign("t1", "b"), Assign("t2", "b"), Assign("t3", "a"))
    probe = attrs.evolve(after, workers=workers(a=9))
    assert plan(queue, probe, 51, limits, Policy()).actions == (Assign("t1", "a"),)
    nowhere = attrs.evolve(seen, workers=workers(a=9))
    assert plan(queue, nowhere, 60, limits, Policy()).actions == ()


def test_a_sub_task_ends_with_its_supervisor() -> None:
    """Whether it waits, was assigned, or runs; one that has just ended by itself is recorded as what it is."""
    subs = tasks(*(task(name, supervisor="s", worker=worker) for name, worker in (("w", None), ("r", "a"), ("d", "a"))))
    done = announced("d", TaskStatus.success("d", 3))
    seen = Seen(workers=workers(a=1), assignments={}, statuses={("a", "r"): announced("r"), ("a", "d"): done})
    ends = {action.task_id: action.status for action in actions(subs, seen) if isinstance(action, Finish)}
    assert ends["d"] == done.status
    assert {ends[name].error_msg for name in ("w", "r")} == {"its supervisor task has ended"}
    with_supervisor = {**tasks(task("s", "b")), **subs}
    kept = attrs.evolve(seen, statuses={**seen.statuses, ("b", "s"): announced("s")}, workers=workers(a=2, b=1))
    assert actions(with_supervisor, kept) == (Finish("d", "a", done.status), Assign("w", "a"))


def test_a_worker_on_the_blacklist_gets_nothing() -> None:
    seen = Seen(workers=workers(a=5, b=1), assignments={}, statuses={}, barred={"a"})
    assert actions(tasks(task("t1"), task("t2")), seen) == (Assign("t1", "b"),)


def test_what_fits_nowhere_lets_others_pass() -> None:
    """Also of its own kind: a task that must not be beside another of its group says nothing of the next."""
    seen = Seen(
        workers=workers(a=3),
        assignments={},
        statuses={("a", "t0"): attrs.evolve(announced("t0"), availability_group="g")},
    )
    queue = tasks(
        task("t0", "a"),
        task("big", required_capacity=3),
        task("big-too", required_capacity=3),
        task("g1", availability_group="g"),
        task("t1"),
        task("g2", availability_group="g"),
        task("t2"),
    )
    assert actions(queue, seen) == (Assign("t1", "a"), Assign("t2", "a"))


def test_a_type_has_its_limit() -> None:
    """What is over it waits, and lets others pass."""
    policy = Policy(task_limits=TaskLimits({"noop": 2}))
    seen = Seen(workers=workers(a=9), assignments={}, statuses={("a", "t0"): announced("t0")})
    queue = tasks(task("t0", "a", type="noop"), *(task(f"t{n}", type="noop") for n in (1, 2)), task("k", type="kill"))
    assert plan(queue, seen, 0, LIMITS, policy).actions == (Assign("t1", "a"), Assign("k", "a"))


def test_what_a_lost_worker_left_is_cleared() -> None:
    """Once nothing of its tasks is there, and not before its time."""
    seen = attrs.evolve(NOTHING, gone_since={"a": 0})
    assert planned({}, seen, 999) == Plan((), 1000)
    assert actions({}, seen, 1000) == (Clear("a"),)
    assert actions({}, attrs.evolve(seen, workers=workers(a=1)), 1000) == ()
    busy = attrs.evolve(seen, statuses={("a", "t1"): announced("t1")})
    assert actions({}, busy, 1000) == (Forget("t1", "a"),)


class Model:
    """A store and a tree that carry plans out, with workers that claim, run, crash and come back."""

    def __init__(self) -> None:
        self.queue = tasks(*(task(f"t{n}") for n in range(3)), task("t3", supervisor="t0"))
        self.workers = workers(a=1, b=2)
        self.assignments: dict[tuple[str, str], int] = {}
        self.statuses: dict[tuple[str, str], TaskAnnouncement] = {}
        self.gone_since: dict[str, int] = {}
        self.ran: set[str] = set()
        self.finished: dict[str, TaskStatus] = {}
        self.slow: set[str] = set()
        self.now_ms = 0

    def round(self) -> None:
        self.now_ms += 10
        self.ran |= {t for _, t in self.statuses}
        seen = Seen(
            workers=self.workers,
            assignments=self.assignments,
            statuses=self.statuses,
            gone_since=self.gone_since,
            ran=self.ran,
            slow=self.slow,
        )
        limits = attrs.evolve(LIMITS, slow_claim_ms=30)
        for action in plan(self.queue, seen, self.now_ms, limits, Policy()).actions:
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        match action:
            case Assign(task_id, worker):
                assert all(t != task_id for _, t in self.assignments), "assigned twice"
                assert all(t != task_id for _, t in self.statuses), "assigned while it runs"
                old = self.queue[task_id]
                self.queue[task_id] = attrs.evolve(old, attempt=old.attempt + 1, worker=worker)
                self.assignments[worker, task_id] = self.now_ms
            case Withdraw(task_id, worker):
                del self.assignments[worker, task_id]
                self.slow.add(worker)
            case Finish(task_id, worker, status):
                assert task_id not in self.finished
                self.finished[task_id] = status
                del self.queue[task_id]
                if worker is not None:
                    self.statuses.pop((worker, task_id), None)
            case Forget(task_id, worker):
                del self.statuses[worker, task_id]
            case Clear(worker):
                assert all(host != worker for host, _ in (*self.statuses, *self.assignments))
                del self.gone_since[worker]
            case Stop(task_id, worker):
                self.statuses[worker, task_id] = announced(task_id, TaskStatus.failure(task_id, "killed"))

    def happen(self, what: str, number: int) -> None:
        if what == "claim" and self.assignments:
            place = sorted(self.assignments)[number % len(self.assignments)]
            del self.assignments[place]
            self.slow.discard(place[0])
            self.statuses[place] = announced(place[1])
        elif what == "end" and self.statuses:
            place = sorted(self.statuses)[number % len(self.statuses)]
            self.statuses[place] = announced(place[1], TaskStatus.success(place[1], 1))
        elif what == "leave" and self.workers:
            host = sorted(self.workers)[number % len(self.workers)]
            del self.workers[host]
            self.gone_since[host] = self.now_ms
        elif what == "join":
            self.workers = workers(a=1, b=2)
            self.gone_since = {}
        elif what == "new leader":
            self.ran = set()
            self.assignments = {}  # ephemerals of the old leader's session
        self.round()


@given(
    st.lists(
        st.tuples(st.sampled_from(["claim", "end", "leave", "join", "new leader"]), st.integers(0, 9)), max_size=40
    )
)
@settings(deadline=None)
def test_no_task_runs_twice_and_every_task_ends(history: list[tuple[str, int]]) -> None:
    model = Model()
    model.round()
    for what, number in history:
        model.happen(what, number)
    for _ in range(20):
        model.happen("join", 0)
        model.happen("claim", 0)
        model.happen("end", 0)
    assert set(model.finished) == {"t0", "t1", "t2", "t3"}
    assert not model.statuses
