"""Overshadowed segments: by complete newer versions, piece by piece, compared with asking every instant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import ShardSpec, is_complete, linear, numbered
from druidroles.timeline.coverage import Coverage
from druidroles.timeline.overshadow import overshadowed


def segment(start: int, end: int, version: str, spec: ShardSpec | None = None) -> DataSegment:
    """A segment of [start, end)."""
    return DataSegment("d", Interval(start, end), version, shard_spec=spec or numbered(0, 1))


def test_a_newer_version_of_the_same_interval_overshadows() -> None:
    """The usual re-ingestion."""
    old, new = segment(0, 10, "1"), segment(0, 10, "2")
    assert overshadowed([new, old]) == {old.id}


def test_newer_versions_overshadow_together() -> None:
    """A month by its days, of different versions; with one day missing it is still needed."""
    month = segment(0, 30, "1")
    days = [segment(n * 10, n * 10 + 10, str(n + 2)) for n in range(3)]
    assert overshadowed([month, *days]) == {month.id}
    assert overshadowed([month, *days[:2]]) == set()
    assert overshadowed([month, days[0], days[2]]) == set()


def test_a_newer_version_overshadows_part_of_nothing() -> None:
    """An hour of a day leaves the day needed."""
    assert overshadowed([segment(0, 24, "1"), segment(3, 4, "2")]) == set()


def test_an_incomplete_newer_version_overshadows_nothing() -> None:
    """Two of three partitions are none, until the third comes."""
    old = segment(0, 10, "1")
    parts = [segment(0, 10, "2", numbered(n, 3)) for n in range(3)]
    assert overshadowed([old, *parts[:2]]) == set()
    assert overshadowed([old, *parts]) == {old.id}


def test_all_partitions_of_an_old_version_go_even_if_it_is_incomplete() -> None:
    """What is incomplete is overshadowed like anything else."""
    parts = [segment(0, 10, "1", numbered(n, 3)) for n in range(2)]
    assert overshadowed([*parts, segment(0, 10, "2")]) == {part.id for part in parts}


def test_one_version_does_not_overshadow_itself() -> None:
    """Intervals of the same version that overlap are a fault of whoever made them; both are kept."""
    assert overshadowed([segment(0, 10, "1"), segment(0, 20, "1")]) == set()


def test_versions_compare_as_text() -> None:
    """As in Druid, where they are times in ISO 8601."""
    ten, nine = segment(0, 10, "10"), segment(0, 10, "9")
    assert overshadowed([ten, nine]) == {ten.id}


def test_an_empty_interval_is_neither_overshadowed_nor_covers() -> None:
    """It holds no instant."""
    assert overshadowed([segment(5, 5, "1"), segment(0, 10, "2")]) == set()
    assert overshadowed([segment(5, 6, "1"), segment(5, 5, "2")]) == set()


SEGMENTS = st.lists(
    st.builds(
        lambda start, length, version, spec: segment(start, start + length, version, spec),
        st.integers(0, 8),
        st.integers(1, 6),
        st.sampled_from("123"),
        st.sampled_from([numbered(0, 1), numbered(0, 2), numbered(1, 2), numbered(3, 2), linear(0), linear(4)]),
    ),
    max_size=12,
    unique_by=lambda made: made.id,
)


@given(SEGMENTS)
def test_like_asking_every_instant(segments: list[DataSegment]) -> None:
    """The naive twin: every instant of a segment lies in a complete set of a higher version."""

    def covered(instant: int, version: str) -> bool:
        sets = {
            (other.interval, other.version)
            for other in segments
            if other.version > version and other.interval.contains_ms(instant)
        }
        return any(
            is_complete([one.shard_spec for one in segments if (one.interval, one.version) == key]) for key in sets
        )

    expected = {
        one.id
        for one in segments
        if all(covered(instant, one.version) for instant in range(one.interval.start_ms, one.interval.end_ms))
    }
    assert overshadowed(segments) == expected


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=10),
    st.tuples(st.integers(0, 20), st.integers(0, 6)),
)
def test_coverage_is_a_set_of_instants(added: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    """Compared with a set of numbers."""
    coverage = Coverage()
    instants: set[int] = set()
    for start, length in added:
        coverage.add(start, start + length)
        instants.update(range(start, start + length))
    start, length = asked
    assert coverage.covers(start, start + length) == (length > 0 and instants.issuperset(range(start, start + length)))
