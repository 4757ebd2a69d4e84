"""Workers on which task after task fails."""

from __future__ import annotations

from druidroles.overlord.planning.blacklist import Blacklist, BlacklistRule

RULE = BlacklistRule(failures=2, backoff_ms=100, percentage=20)


def fail(blacklist: Blacklist, worker: str, times: int, workers: int = 10, now_ms: int = 0) -> bool:
    return [blacklist.failed(worker, workers, now_ms) for _ in range(times)][-1]


def test_more_than_so_many_failures_in_a_row() -> None:
    blacklist = Blacklist(RULE)
    assert not fail(blacklist, "a", 2)
    assert fail(blacklist, "a", 1, now_ms=7)
    assert (blacklist.workers, blacklist.until("a"), blacklist.next_ms) == ({"a"}, 107, 107)
    assert blacklist.until("b") is None


def test_a_success_counts_from_anew_and_frees() -> None:
    blacklist = Blacklist(RULE)
    fail(blacklist, "a", 2)
    blacklist.succeeded("a")
    assert not fail(blacklist, "a", 2)
    assert fail(blacklist, "a", 1)
    blacklist.succeeded("a")
    assert blacklist.workers == set()
    assert blacklist.next_ms is None


def test_no_more_than_a_part_of_the_workers() -> None:
    """A fifth of ten are two; of four it is none."""
    blacklist = Blacklist(RULE)
    assert [fail(blacklist, worker, 3) for worker in "abc"] == [True, True, False]
    assert not fail(Blacklist(RULE), "a", 9, workers=4)


def test_the_time_is_up_or_workers_have_gone() -> None:
    blacklist = Blacklist(RULE)
    fail(blacklist, "a", 3)
    fail(blacklist, "b", 3, now_ms=50)
    assert blacklist.sweep(10, 99) == []
    assert blacklist.sweep(10, 100) == ["a"]
    assert not fail(blacklist, "a", 2, now_ms=100)  # it begins at none again
    assert blacklist.sweep(4, 101) == ["b"]
