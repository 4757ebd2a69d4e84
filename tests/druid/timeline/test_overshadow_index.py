"""The index, changed step by step, against the whole computed anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.timeline.overshadow import overshadowed
from druidroles.timeline.overshadow_index import SLICE, OvershadowIndex

HOUR_MS = 3_600_000


def segment(start: int, hours: int, version: int, part: int = 0, of: int = 1) -> DataSegment:
    interval = Interval(start * HOUR_MS, (start + hours) * HOUR_MS)
    return DataSegment("wiki", interval, f"v{version}", shard_spec=numbered(part, of))


segments = st.builds(
    segment,
    st.integers(0, 8),
    st.sampled_from([1, 1, 2, 4, 8]),
    st.integers(1, 4),
    st.integers(0, 1),
    st.integers(1, 2),
)


@given(st.lists(st.lists(segments, max_size=8), max_size=8))
def test_after_any_changes_it_is_as_if_computed_anew(groups: list[list[DataSegment]]) -> None:
    """Each group toggles some segments; then what was told as changed is exactly what is another now."""
    index, held = OvershadowIndex(), dict[str, DataSegment]()
    for group in groups:
        before = set(index.overshadowed)
        for each in {s.id: s for s in group}.values():
            if each.id in held:
                index.remove(held.pop(each.id))
                before.discard(each.id)
            else:
                index.add(each)
                held[each.id] = each
        changed: set[str] = set()
        for _ in index.update(changed):
            pass
        assert index.overshadowed == overshadowed(held.values())
        assert changed == before ^ index.overshadowed
    assert bool(index) == bool(held)


@given(st.lists(segments, max_size=20, unique_by=lambda s: s.id), st.sets(st.integers(0, 19)))
def test_who_counts_decides(held: list[DataSegment], counting: set[int]) -> None:
    index = OvershadowIndex()
    counts = {held[n].id for n in counting if n < len(held)}
    for each in held:
        index.add(each)
    for each in held:
        others = [s for s in held if s.id in counts and s.version > each.version]
        # Alone below those that count, it is overshadowed if they cover it by themselves.
        expected = each.id in overshadowed([each, *others])
        assert index.is_covered(each, counts.__contains__) == expected


def test_many_changes_are_taken_in_slices() -> None:
    index = OvershadowIndex()
    for start in range(10 * SLICE):
        index.add(segment(start, 1, 1))
        index.add(segment(start, 1, 2))
    assert sum(1 for _ in index.update(set())) >= 20
    assert len(index.overshadowed) == 10 * SLICE
