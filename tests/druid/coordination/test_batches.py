"""Packing segments into batches: limits, few writes, nothing lost."""

from __future__ import annotations

import json
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_segments import make_segment

from druidroles.coordination import batches as module
from druidroles.coordination.batches import Batches, SegmentTooLargeError, batch_payload, encode_segment
from druidroles.coordination.inventory import read_batch
from druidroles.model.segment import DataSegment


def new_batches() -> Batches:
    numbers = count()
    return Batches(lambda: f"b{next(numbers)}")


def announced(batches: Batches) -> dict[str, list[str]]:
    return {name: list(batches.get(name) or ()) for name in batches.names()}


def test_a_batch_holds_fifty() -> None:
    batches = new_batches()
    plan = batches.plan([make_segment(day) for day in range(1, 121)])
    assert [len(entries) for entries in plan.values()] == [50, 50, 20]
    assert len(batches) == 0  # nothing counts before the tree has it
    batches.accept(plan)
    assert len(batches) == 120
    more = batches.plan([make_segment(day) for day in range(121, 131)])
    assert {name: len(entries) for name, entries in more.items()} == {"b2": 30}


def test_a_batch_holds_half_a_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(encode_segment(make_segment(1)))
    monkeypatch.setattr(module, "BYTES_PER_BATCH", 3 * size + 4)  # brackets and two commas
    plan = new_batches().plan([make_segment(day) for day in range(1, 8)])
    assert [len(entries) for entries in plan.values()] == [3, 3, 1]
    assert max(len(batch_payload(entries)) for entries in plan.values()) == 3 * size + 4


def test_a_segment_larger_than_a_batch_is_refused_and_nothing_planned() -> None:
    huge = make_segment(1, dimensions=("x" * (512 * 1024),))
    with pytest.raises(SegmentTooLargeError, match="description of segment flights_"):
        new_batches().plan([make_segment(2), huge])


def test_what_goes_and_what_comes_share_a_write() -> None:
    batches = new_batches()
    batches.accept(batches.plan([make_segment(day) for day in range(1, 101)]))
    plan = batches.plan([make_segment(200)], [make_segment(70).id])
    assert set(plan) == {"b1"}
    batches.accept(plan)
    assert make_segment(200).id in batches
    assert make_segment(70).id not in batches


def test_the_last_one_out_takes_the_batch_with_it() -> None:
    batches = new_batches()
    batches.accept(batches.plan([make_segment(1), make_segment(2)]))
    plan = batches.plan([], [make_segment(1).id, make_segment(2).id])
    assert plan == {"b0": {}}
    batches.accept(plan)
    assert announced(batches) == {}


def test_what_stands_in_the_tree_is_taken_up_as_it_stands() -> None:
    batches = new_batches()
    one, two, three, four = (make_segment(day).id for day in (1, 2, 3, 4))
    batches.accept(batches.plan([make_segment(day) for day in (1, 2, 3)]))
    batches.rehome({"old": [three, four, one], "older": [three]})
    assert announced(batches) == {"old": [three, one], "b0": [two]}
    assert batches.plan([], [one]).keys() == {"old"}
    assert len(batches) == 3


def test_a_whole_server_is_packed_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    has_room = module._Drafts._has_room

    def counted(drafts: module._Drafts, name: str, data: bytes) -> bool:
        nonlocal asked
        asked += 1
        return has_room(drafts, name, data)

    monkeypatch.setattr(module._Drafts, "_has_room", counted)
    monkeypatch.setattr(module, "SEGMENTS_PER_BATCH", 2)
    assert len(new_batches().plan([make_segment(day) for day in range(1, 301)])) == 150
    assert asked < 3 * 300


def test_what_changes_nothing_writes_nothing() -> None:
    batches = new_batches()
    batches.accept(batches.plan([make_segment(1)]))
    assert batches.plan([make_segment(1)], [make_segment(2).id]) == {}
    assert batches.plan([make_segment(1)], [make_segment(1).id]) == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(1, 90)), st.sets(st.integers(1, 90))), max_size=8))
def test_every_segment_stands_in_one_batch(steps: list[tuple[set[int], set[int]]]) -> None:
    batches, expected = new_batches(), set[int]()
    for add, remove in steps:
        batches.accept(batches.plan([make_segment(day) for day in add], [make_segment(day).id for day in remove]))
        expected = (expected - remove) | add
        held = [segment_id for ids in announced(batches).values() for segment_id in ids]
        assert sorted(held) == sorted(make_segment(day).id for day in expected)
        assert all(0 < len(ids) <= 50 for ids in announced(batches).values())


def test_a_batch_reads_as_druid_writes_it() -> None:
    segment = make_segment(1)
    payload = batch_payload({segment.id: encode_segment(segment)})
    assert payload == (
        b'[{"dataSource":"flights","interval":"2013-01-01T00:00:00.000Z/2013-01-02T00:00:00.000Z",'
        b'"version":"2024-01-01T00:00:00.000Z","loadSpec":{"type":"local","path":"/deep/1/index.parquet"},'
        b'"dimensions":"carrier,origin","metrics":"distance",'
        b'"shardSpec":{"type":"numbered","partitionNum":0,"partitions":1},"binaryVersion":101,"size":100,'
        b'"identifier":"flights_2013-01-01T00:00:00.000Z_2013-01-02T00:00:00.000Z_2024-01-01T00:00:00.000Z"}]'
    )
    two: list[DataSegment] = [make_segment(1), make_segment(2)]
    payload = batch_payload({one.id: encode_segment(one) for one in two})
    assert payload == json.dumps([one.to_json() for one in two], separators=(",", ":")).encode()
    assert list(read_batch(payload)) == [one.id for one in two]
