"""Work in steps comes to the same as in one go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from druidroles.query import steps as module
from druidroles.query.merge import Result, merger
from druidroles.query.model import parse_query
from druidroles.query.steps import Steps, collect, run_through, slices, sort, take_turns


@given(st.lists(st.tuples(st.integers(0, 5), st.integers())), st.booleans(), st.integers(1, 9))
def test_sorting_in_steps_is_sorting_and_stable(rows: list[tuple[int, int]], reverse: bool, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS_AT_ONCE", at_once)
        found = run_through(sort(rows, lambda row: row[0], reverse=reverse))
    assert found == sorted(rows, key=lambda row: row[0], reverse=reverse)


def test_no_step_takes_more_than_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    seen: list[int] = []
    steps = collect(seen.append(number) or number for number in range(10))  # type: ignore[func-returns-value]
    taken = []
    for _ in steps:
        taken.append(len(seen))
    assert taken == [3, 6, 9, 10]
    assert [list(some) for some in slices(range(7))] == [[0, 1, 2], [3, 4, 5], [6]]


async def test_others_run_between_the_steps() -> None:
    order: list[str] = []

    def steps(name: str) -> Steps[str]:
        for number in range(3):
            order.append(f"{name}{number}")
            yield
        return name

    async def work(name: str) -> None:
        assert await take_turns(steps(name)) == name

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, "a")
        nursery.start_soon(work, "b")
    assert sorted(order[:2]) == ["a0", "b0"]
    assert sorted(order[2:4]) == ["a1", "b1"]


BASE = {"dataSource": "d", "intervals": ["2013-01-01/2013-03-01"], "aggregations": [{"type": "count", "name": "n"}]}


@pytest.mark.parametrize(
    ("query", "results"),
    [
        (
            {"queryType": "groupBy", "granularity": "all", "dimensions": ["a"], **BASE},
            [{"timestamp": "2013-01-01T00:00:00.000Z", "event": {"a": str(n), "n": n}} for n in range(3000)],
        ),
        (
            {"queryType": "topN", "granularity": "all", "dimension": "a", "metric": "n", "threshold": 3000, **BASE},
            [
                {
                    "timestamp": "2013-01-01T00:00:00.000Z",
                    "result": [{"a": str(n), "n": n % 7} for n in range(3000)],
                }
            ],
        ),
        (
            {"queryType": "timeseries", "granularity": "minute", **BASE},
            [{"timestamp": f"2013-01-{day:02}T00:00:00.000Z", "result": {"n": day}} for day in (1, 2, 3)],
        ),
        (
            {"queryType": "scan", "columns": ["__time"], "intervals": BASE["intervals"], "dataSource": "d"},
            [{"segmentId": "s", "columns": ["__time"], "events": [{"__time": n} for n in range(3000)]}],
        ),
    ],
)
def test_no_merger_does_its_work_in_one_go(query: dict[str, object], results: Sequence[Result]) -> None:
    merging = merger(parse_query(query))
    adding = list(merging.add(results))
    finishing = list(merging.finish())
    assert len(adding) + len(finishing) >= 6
