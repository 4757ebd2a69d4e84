"""The index by interval, compared with looking at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from druidroles.timeline.index import IntervalIndex

INTERVALS = st.tuples(st.integers(-20, 20), st.integers(0, 40)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(INTERVALS, max_size=12), st.data(), INTERVALS)
def test_finds_all_that_overlap(added: list[tuple[int, int]], data: st.DataObject, asked: tuple[int, int]) -> None:
    """Whatever their lengths, and after some have been removed."""
    index: IntervalIndex[int] = IntervalIndex()
    for number, (start, end) in enumerate(added):
        index.add(start, end, number)
    gone = data.draw(st.sets(st.sampled_from(range(len(added))))) if added else set()
    for number in gone:
        index.remove(*added[number], number)
    expected = [
        number
        for number, (start, end) in enumerate(added)
        if number not in gone and max(start, asked[0]) < min(end, asked[1])
    ]
    assert sorted(index.overlapping(*asked)) == expected


def test_what_is_not_there_cannot_be_removed() -> None:
    """A view that removes twice has a fault, which must show."""
    index: IntervalIndex[int] = IntervalIndex()
    index.add(0, 1, 7)
    with pytest.raises(ValueError):
        index.remove(0, 1, 8)
    index.remove(0, 1, 7)
    with pytest.raises(KeyError):
        index.remove(0, 1, 7)
