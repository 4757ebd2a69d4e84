"""Input files dealt out to sub-tasks."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from druidroles.segments.splits import ParallelTuning, parse_parallel, split_files


def split(sizes: list[int], most_bytes: int, most_files: int) -> list[list[int]]:
    files = [(Path(str(place)), size) for place, size in enumerate(sizes)]
    pieces = split_files(files, ParallelTuning(split_bytes=most_bytes, split_files=most_files))
    return [[int(path.name) for path in piece] for piece in pieces]


def test_by_size_and_by_number() -> None:
    """A file that is larger than a piece is one of its own: files are not cut."""
    assert split([5, 5, 5], 10, 9) == [[0, 1], [2]]
    assert split([5, 99, 5], 10, 9) == [[0], [1], [2]]
    assert split([1, 1, 1, 1, 1], 10, 2) == [[0, 1], [2, 3], [4]]
    assert split([], 10, 2) == []
    assert split([0, 0], 10, 9) == [[0, 1]]


@given(st.lists(st.integers(0, 20)), st.integers(1, 30), st.integers(1, 5))
def test_each_file_once_in_order_within_the_limits(sizes: list[int], most_bytes: int, most_files: int) -> None:
    pieces = split(sizes, most_bytes, most_files)
    assert [place for piece in pieces for place in piece] == list(range(len(sizes)))
    for piece in pieces:
        assert 1 <= len(piece) <= most_files
        assert sum(sizes[place] for place in piece) <= most_bytes or len(piece) == 1


def test_defaults_are_druids() -> None:
    assert parse_parallel({}) == ParallelTuning(
        sub_tasks=1, max_retry=3, check_period_ms=1000, split_bytes=1 << 30, split_files=1000
    )
