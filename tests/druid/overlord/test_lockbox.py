"""Time-chunk locks: who waits, who is revoked, and versions that always rise."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso, parse_iso
from druidroles.overlord.planning.lockbox import EXCLUSIVE, SHARED, Granted, Lockbox, LockRequest, Refused, next_version

NOW = parse_iso("2024-01-01T00:00:00.000Z")


def request(task: str, interval: str = "2013-01-01/2013-02-01", **more: object) -> LockRequest:
    values: dict[str, object] = {"group_id": task, "data_source": "flights", **more}
    return LockRequest(task_id=task, interval=Interval.parse(interval), **values)  # type: ignore[arg-type]


class Holder:
    """A lockbox whose grants are stored at once."""

    def __init__(self) -> None:
        self.box = Lockbox()
        self.rows = 0

    def ask(self, wanted: LockRequest, now_ms: int = NOW, newest: str | None = None) -> Granted | Refused:
        answer = self.box.decide(wanted, now_ms, newest)
        if isinstance(answer, Granted) and answer.held is None:
            self.rows += 1
            self.box.granted(self.rows, wanted.task_id, answer)
        return answer


def granted(answer: Granted | Refused) -> Granted:
    assert isinstance(answer, Granted)
    return answer


def test_the_version_is_the_later_of_now_and_the_newest_plus_one() -> None:
    assert next_version(NOW, None) == "2024-01-01T00:00:00.000Z"
    assert next_version(NOW, "2023-12-31T23:59:59.999Z") == "2024-01-01T00:00:00.000Z"
    assert next_version(NOW, "2024-01-01T00:00:00.000Z") == "2024-01-01T00:00:00.001Z"
    assert next_version(NOW, "2030-01-01T00:00:00.000Z") == "2030-01-01T00:00:00.001Z"


def test_a_second_task_waits_until_the_first_has_ended() -> None:
    holder = Holder()
    first = granted(holder.ask(request("a")))
    refused = holder.ask(request("b", "2013-01-31/2013-02-02"))
    assert isinstance(refused, Refused)
    assert refused.holder.task_id == "a"
    granted(holder.ask(request("c", "2013-02-01/2013-02-02")))
    granted(holder.ask(request("d", data_source="other")))
    holder.box.task_ended("a")
    second = granted(holder.ask(request("b"), newest=first.lock.version))
    assert second.lock.version > first.lock.version


def test_asking_again_gives_the_same_lock() -> None:
    holder = Holder()
    first = granted(holder.ask(request("a")))
    again = granted(holder.ask(request("a", "2013-01-05/2013-01-06"), NOW + 5))
    assert again.held is not None
    assert again.lock == first.lock
    assert holder.rows == 1


def test_tasks_of_a_group_share_the_version() -> None:
    holder = Holder()
    first = granted(holder.ask(request("a", group_id="g")))
    member = granted(holder.ask(request("b", "2013-01-05/2013-01-06", group_id="g"), NOW + 5))
    assert member.held is None
    assert member.lock.version == first.lock.version
    assert [held.task_id for held in holder.box.of_task("b")] == ["b"]


def test_a_stronger_priority_revokes_and_the_revoked_task_is_told() -> None:
    holder = Holder()
    weak = granted(holder.ask(request("a", priority=25)))
    strong = granted(holder.ask(request("b", priority=50), NOW))
    assert strong.revoked == (1,)
    assert strong.lock.version > weak.lock.version
    told = granted(holder.ask(request("a", priority=25)))
    assert told.held is not None
    assert told.lock.revoked
    assert isinstance(holder.ask(request("c", priority=50)), Refused)


def test_shared_locks_go_together_but_not_with_an_exclusive_one() -> None:
    holder = Holder()
    granted(holder.ask(request("a", lock_type=SHARED)))
    granted(holder.ask(request("b", lock_type=SHARED)))
    assert isinstance(holder.ask(request("c", lock_type=EXCLUSIVE)), Refused)


intervals = st.tuples(st.integers(0, 9), st.integers(1, 5)).map(lambda t: (t[0], t[0] + t[1]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 5), intervals, st.sampled_from([25, 50, 75])),
        st.tuples(st.just("end"), st.integers(0, 5), st.just((0, 0)), st.just(0)),
    ),
    max_size=25,
)


@given(steps)
@settings(deadline=None)
def test_two_groups_never_hold_the_same_time_and_versions_rise(
    history: list[tuple[str, int, tuple[int, int], int]],
) -> None:
    holder = Holder()
    day_ms = 86_400_000
    newest: dict[int, str] = {}
    for kind, number, (start, end), priority in history:
        task = f"t{number}"
        if kind == "end":
            holder.box.task_ended(task)
            continue
        wanted = request(task, f"{format_iso(start * day_ms)}/{format_iso(end * day_ms)}", priority=priority)
        known = max((newest[d] for d in range(start, end) if d in newest), default=None)
        answer = holder.ask(wanted, NOW, known)
        if isinstance(answer, Granted) and answer.held is None:
            for day in range(start, end):
                assert answer.lock.version > newest.get(day, "")
                newest[day] = answer.lock.version
        valid = [held for held in holder.box.held() if not held.lock.revoked]
        for one in valid:
            for other in valid:
                if one.lock.group_id != other.lock.group_id:
                    assert not one.lock.interval.overlaps(other.lock.interval)
