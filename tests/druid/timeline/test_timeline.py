"""The timeline: what shows when, compared with a twin that asks every instant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.shardspec import NONE, ShardSpec, is_complete, linear, numbered
from druidroles.timeline.partitions import PartitionHolder
from druidroles.timeline.timeline import VersionedIntervalTimeline

Timeline = VersionedIntervalTimeline[str]


def shown(timeline: Timeline, start: int = 0, end: int = 100) -> list[tuple[int, int, str]]:
    """The pieces within [start, end): start, end, version."""
    return [
        (holder.interval.start_ms, holder.interval.end_ms, holder.version)
        for holder in timeline.lookup(Interval(start, end))
    ]


def put(timeline: Timeline, start: int, end: int, version: str, spec: ShardSpec = NONE) -> None:
    """Add a chunk named after itself."""
    timeline.add(Interval(start, end), version, spec, f"{start}-{end} {version}.{spec.partition_num}")


def test_a_newer_version_shows_and_the_older_in_pieces() -> None:
    """The true interval is kept, the visible one shrinks."""
    timeline = Timeline()
    put(timeline, 0, 30, "1")
    put(timeline, 10, 20, "2")
    assert shown(timeline) == [(0, 10, "1"), (10, 20, "2"), (20, 30, "1")]
    assert [holder.true_interval for holder in timeline.lookup(Interval(0, 5))] == [Interval(0, 30)]
    assert shown(timeline, 5, 12) == [(5, 10, "1"), (10, 12, "2")]
    assert [holder.interval for holder in timeline.lookup(Interval(5, 25), 1)] == [Interval(5, 10)]


def test_a_version_shows_only_when_complete() -> None:
    """The older answers until the last partition comes, and again when one goes."""
    timeline = Timeline()
    put(timeline, 0, 10, "1")
    put(timeline, 0, 10, "2", numbered(0, 2))
    assert shown(timeline) == [(0, 10, "1")]
    put(timeline, 0, 10, "2", numbered(1, 2))
    assert shown(timeline) == [(0, 10, "2")]
    assert [chunk.value for chunk in timeline.lookup(Interval(0, 1))[0].chunks] == ["0-10 2.0", "0-10 2.1"]
    assert timeline.remove(Interval(0, 10), "2", 0) == "0-10 2.0"
    assert shown(timeline) == [(0, 10, "1")]
    assert timeline.remove(Interval(0, 10), "2", 0) is None
    assert len(timeline) == 2


def test_pieces_of_one_entry_grow_together_again() -> None:
    """When what cut it goes, a segment is asked for once, not piece by piece."""
    timeline = Timeline()
    put(timeline, 0, 30, "1")
    put(timeline, 10, 20, "2")
    put(timeline, 20, 25, "3")
    timeline.remove(Interval(10, 20), "2", 0)
    assert shown(timeline) == [(0, 20, "1"), (20, 25, "3"), (25, 30, "1")]
    timeline.remove(Interval(20, 25), "3", 0)
    assert shown(timeline) == [(0, 30, "1")]


def test_eternity_and_emptiness() -> None:
    """The longest interval there is, and one with nothing in it."""
    timeline = Timeline()
    timeline.add(ETERNITY, "1", NONE, "all")
    put(timeline, 5, 5, "2")
    assert shown(timeline, 0, 10) == [(0, 10, "1")]
    assert shown(timeline, 3, 3) == []
    assert timeline.remove(Interval(5, 5), "2", 0) == "5-5 2.0"


def test_find_chunk_takes_pieces_of_a_complete_entry() -> None:
    """By version and partition, visible or not; the interval may be a part."""
    timeline = Timeline()
    put(timeline, 0, 30, "1")
    put(timeline, 0, 30, "2")
    chunk = timeline.find_chunk(Interval(10, 20), "1", 0)
    assert chunk is not None
    assert chunk.value == "0-30 1.0"
    assert timeline.find_chunk(Interval(10, 31), "1", 0) is None
    assert timeline.find_chunk(Interval(10, 20), "1", 1) is None
    holder = timeline.partitions(Interval(0, 30), "1")
    assert holder is not None
    assert holder.complete
    assert timeline.partitions(Interval(0, 29), "1") is None


def test_appended_partitions_belong_to_a_complete_set() -> None:
    """Numbers beyond the core come and go without a change of version."""
    timeline = Timeline()
    put(timeline, 0, 10, "1", numbered(0, 1))
    put(timeline, 0, 10, "1", numbered(1, 0))
    assert len(timeline.lookup(Interval(0, 10))[0].chunks) == 2
    timeline.remove(Interval(0, 10), "1", 1)
    assert shown(timeline) == [(0, 10, "1")]
    timeline.remove(Interval(0, 10), "1", 0)
    assert shown(timeline) == []


def test_a_lookup_among_many_touches_few() -> None:
    """A day of 20,000 is found by steps that do not grow with the rest: counted, not timed."""
    timeline = Timeline()
    for day in range(20_000):
        put(timeline, day * 10, day * 10 + 10, str(day % 3))
    touched = 0

    class Counting(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            nonlocal touched
            touched += 1
            return super().__getitem__(at)

    timeline._pieces = Counting(timeline._pieces)
    assert shown(timeline, 99_995, 100_015) == [
        (99_995, 100_000, "0"),
        (100_000, 100_010, "1"),
        (100_010, 100_015, "2"),
    ]
    assert touched < 10


class Twin(RuleBasedStateMachine):
    """Chunks come and go in any order; at each instant the complete entry of the highest rank shows."""

    def __init__(self) -> None:
        super().__init__()
        self.timeline = Timeline()
        self.chunks: dict[tuple[int, int, str, int], ShardSpec] = {}

    SPECS = st.sampled_from(
        [NONE, linear(1), numbered(0, 2), numbered(1, 2), numbered(2, 0), numbered(0, 1), numbered(1, 3)]
    )

    @rule(start=st.integers(0, 6), length=st.sampled_from([0, 2, 3, 5]), version=st.sampled_from("123"), spec=SPECS)
    def add(self, start: int, length: int, version: str, spec: ShardSpec) -> None:
        """A chunk comes, or comes again."""
        put(self.timeline, start, start + length, version, spec)
        self.chunks[start, start + length, version, spec.partition_num] = spec

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """A chunk goes."""
        if not self.chunks:
            return
        key = data.draw(st.sampled_from(sorted(self.chunks)))
        start, end, version, number = key
        del self.chunks[key]
        assert self.timeline.remove(Interval(start, end), version, number) is not None

    def visible_at(self, instant: int) -> tuple[str, int, int] | None:
        """The twin's answer: rank of the entry that shows."""
        entries: dict[tuple[str, int, int], list[ShardSpec]] = {}
        for (start, end, version, _), spec in self.chunks.items():
            entries.setdefault((version, start, end), []).append(spec)
        ranks = [rank for rank, specs in entries.items() if rank[1] <= instant < rank[2] and self.whole(rank, specs)]
        return max(ranks, default=None)

    def whole(self, rank: tuple[str, int, int], specs: list[ShardSpec]) -> bool:
        """As `is_complete` says of them; where types are mixed, the type of the first to come decides, so ask that."""
        entry = self.timeline._entries[rank]
        return is_complete([chunk.spec for chunk in entry.partitions._chunks.values()])

    @invariant()
    def shows_what_the_twin_shows(self) -> None:
        """At every instant, in maximal pieces, with all chunks."""
        instants = [self.visible_at(instant) for instant in range(22)]
        found: list[Any] = [None] * 22
        holders = self.timeline.lookup(Interval(0, 22))
        for holder in holders:
            true = holder.true_interval
            for instant in range(holder.interval.start_ms, holder.interval.end_ms):
                assert found[instant] is None
                found[instant] = (holder.version, true.start_ms, true.end_ms)
            numbers = {number for start, end, version, number in self.chunks if (version, start, end) == found[instant]}
            assert {chunk.spec.partition_num for chunk in holder.chunks} == numbers
        assert found == instants
        for left, right in pairwise(holders):
            assert left.interval.end_ms <= right.interval.start_ms
            if left.interval.end_ms == right.interval.start_ms:
                assert (left.version, left.true_interval) != (right.version, right.true_interval)

    @invariant()
    def counts(self) -> None:
        """Its size is the number of chunks, and nothing is left of what went."""
        assert len(self.timeline) == len(self.chunks)
        assert len(self.timeline._entries) == len({key[:3] for key in self.chunks})


TestTwin = Twin.TestCase
TestTwin.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.sampled_from("12345")), max_size=20), st.data())
def test_any_window_is_the_whole_seen_through_it(added: list[tuple[int, int, str]], data: st.DataObject) -> None:
    """lookup(window) is lookup(everything) trimmed."""
    timeline = Timeline()
    for start, length, version in added:
        put(timeline, start, start + length, version)
    start = data.draw(st.integers(0, 70))
    end = data.draw(st.integers(start, 75))
    whole = [(max(s, start), min(e, end), version) for s, e, version in shown(timeline) if s < end and e > start]
    assert shown(timeline, start, end) == [piece for piece in whole if piece[0] < piece[1]]


def test_where_types_are_mixed_the_first_decides_however_few_there_are() -> None:
    holder: PartitionHolder[int] = PartitionHolder()
    holder.put(ShardSpec("none"), 0)
    holder.put(ShardSpec("numbered", 1, 3), 1)
    assert holder.complete
    assert is_complete([chunk.spec for chunk in holder._chunks.values()])
