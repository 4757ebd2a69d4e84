"""When the disk counts as full, over all sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordserver.storage.space import LAST_BYTES, DiskSpace, SpacePolicy, estimated_snapshot_bytes

SIZES = st.integers(0, 2**34)


@given(SIZES, SIZES, st.sampled_from(list(DiskSpace)))
def test_low_begins_while_a_snapshot_and_two_segments_fit(free: int, snapshot: int, before: DiskSpace) -> None:
    policy = SpacePolicy(segment_bytes := 64 << 20)
    found = policy.judge(before, free, segment_bytes, snapshot)
    if found is DiskSpace.ENOUGH:
        assert free >= 2 * segment_bytes + snapshot
    elif before is DiskSpace.ENOUGH:
        assert free < 2 * segment_bytes + snapshot
    assert found is not DiskSpace.NONE  # a whole segment is left


@given(SIZES, st.integers(64 * 1024, 2**28), SIZES)
def test_something_is_written_only_while_the_log_can_take_it(free: int, segment_bytes: int, left: int) -> None:
    left = min(left, segment_bytes)
    last = min(LAST_BYTES, segment_bytes // 4)
    found = SpacePolicy(segment_bytes).judge(DiskSpace.LOW, free, left, 0)
    fits = free - last >= segment_bytes
    assert (found is DiskSpace.NONE) == (left < last and not fits)


@given(SIZES, SIZES)
def test_what_is_over_does_not_begin_again_at_once(free: int, reserve: int) -> None:
    policy = SpacePolicy(64 << 20, reserve_bytes=max(1, reserve))
    after = policy.judge(DiskSpace.LOW, free, 64 << 20, 0)
    if after is DiskSpace.ENOUGH:
        assert policy.judge(after, free - policy.segment_bytes // 4, 64 << 20, 0) is DiskSpace.ENOUGH


def test_a_snapshot_is_estimated_from_what_there_is_and_from_the_last() -> None:
    assert estimated_snapshot_bytes(1_000_000, 100_000_000, 0, 0) > 200_000_000
    assert estimated_snapshot_bytes(1, 1, 1, 10**9) == 10**9
