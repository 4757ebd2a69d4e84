"""Snapshots of the used segments: what is told as changed, what counts meanwhile, and sums that are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from druidroles.coordinator.cluster.used_segments import SLICE, UsedSegments
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment
from druidroles.timeline.overshadow import overshadowed


def segment(day: int, version: int = 1, source: str = "wiki") -> DataSegment:
    return DataSegment(source, Interval(day * MS_PER_DAY, (day + 1) * MS_PER_DAY), f"v{version}", size=day + 1)


segments = st.builds(segment, st.integers(0, 4), st.integers(1, 3), st.sampled_from(["wiki", "clicks"]))


@given(st.lists(st.sets(segments, max_size=12), max_size=6))
def test_each_snapshot_is_as_if_it_were_the_first(snapshots: list[set[DataSegment]]) -> None:
    used = UsedSegments()
    before: dict[str, bool] = {}
    for number, snapshot in enumerate(snapshots):
        changed = used.replace(snapshot, number)
        by_source = {s.data_source: [x for x in snapshot if x.data_source == s.data_source] for s in snapshot}
        hidden = {i for some in by_source.values() for i in overshadowed(some)}
        after = {s.id: s.id in hidden for s in snapshot}
        assert used.data_sources() == sorted(by_source)
        assert {s.id for s in used.overshadowed()} == hidden
        assert {name: used.totals(name) for name in by_source} == {
            name: (len(some), sum(s.size for s in some)) for name, some in by_source.items()
        }
        expected = {i for i in before.keys() | after.keys() if before.get(i) != after.get(i)}
        assert set(changed) == expected
        assert len(changed) == len(expected)
        assert used.read_ms == number
        before = after


def test_until_the_last_slice_the_old_snapshot_counts_and_the_newest_come_first() -> None:
    used = UsedSegments()
    used.replace([segment(0)], 1)
    steps = used.replacing([segment(day) for day in range(3 * SLICE)], 2)
    told: list[str] = []
    slices = 0
    for step in steps:
        if step is None:
            slices += 1
            assert len(used) == 1
            assert used.read_ms == 1
        else:
            told = step
    assert slices > 10
    assert len(used) == 3 * SLICE
    assert told[0] == segment(3 * SLICE - 1).id
    assert told == [segment(day).id for day in range(3 * SLICE - 1, 0, -1)]
