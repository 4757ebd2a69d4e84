"""The ring's index: what it finds is what looking through all events finds, and it looks at no others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from engine_bench import Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.acl import OPEN_ACL_UNSAFE
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.serving import answers
from coordserver.core.serving.watches import missed
from coordserver.core.state import ring, ring_index
from coordserver.core.state.machine import Machine
from coordserver.core.state.ring import EventRing
from coordserver.core.state.ring_index import Block

CREATED, DELETED, CHANGED = 1, 2, 3
PATHS = ("/", "/a", "/a/b", "/a/b/c", "/a/b/d", "/a.b", "/a0", "/ab", "/a/é", "/b", "/a\u2028/x", "/a/b/c/d")

events = st.tuples(st.sampled_from((CREATED, DELETED, CHANGED)), st.sampled_from(PATHS[1:])).map(
    lambda event: (*event, OPEN_ACL_UNSAFE, OPEN_ACL_UNSAFE)
)
steps = st.one_of(
    st.lists(events, min_size=1, max_size=7),
    st.tuples(st.sampled_from(PATHS), st.integers(0, 1), st.integers(0, 60)),
)


def told(entries: Iterable[Any], path: str, mode: int) -> list[Any]:
    """What a watch hears of entries."""
    heard = ((zxid, missed(some, path, mode, ())) for zxid, some in entries)
    return [(zxid, notices) for zxid, notices in heard if notices]


@settings(max_examples=600, deadline=None)
@given(st.lists(steps, max_size=60), st.integers(1, 40), st.integers(1, 9))
def test_what_the_index_finds_is_what_looking_through_all_finds(
    history: list[Any], limit: int, block_events: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring_index, "BLOCK_EVENTS", block_events)
        found = EventRing(limit)
        zxid = 0
        for step in history:
            if isinstance(step, list):
                zxid += 2
                found.append(zxid, tuple(step))
                continue
            path, mode, since = step
            entries = found.about(since, path, below=bool(mode))
            if entries is None:
                assert since < found.floor
                continue
            plain = [entry for entry in found.entries() if entry[0] > since]
            assert told(entries, path, mode) == told(plain, path, mode)


def one_change_each(count: int) -> EventRing:
    """A ring of changes of as many znodes, in a hundred directories."""
    filled = EventRing()
    for zxid in range(1, count + 1):
        filled.append(zxid, ((CREATED, f"/d{zxid % 100}/n{zxid}", OPEN_ACL_UNSAFE, OPEN_ACL_UNSAFE),))
    return filled


@pytest.mark.parametrize(
    ("path", "below", "matching"),
    [("/d7", True, 450), ("/d7", False, 450), ("/d7/n7", False, 1), ("/d7/n7", True, 1), ("/none", True, 0)],
)
def test_as_many_events_are_looked_at_as_concern_the_path(path: str, below: bool, matching: int) -> None:
    filled = one_change_each(45_000)
    entries = filled.about(0, path, below=below)
    assert entries is not None
    looked_at = sum(len(some) for _, some in entries)
    assert matching <= looked_at < matching + ring_index.BLOCK_EVENTS


def test_each_event_is_put_into_the_index_once_and_leaves_it_with_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    put = []

    def block(entries: Any) -> Block:
        put.append(sum(len(some) for _, some in entries))
        return Block(entries)

    monkeypatch.setattr(ring, "Block", block)
    filled = one_change_each(50_000)
    assert put == []  # a write pays for none of it
    for _ in range(100):
        filled.about(0, "/d7", below=True)
    assert sum(put) <= 50_000
    assert set(put) == {ring_index.BLOCK_EVENTS}
    before = len(put)
    for zxid in range(50_001, 200_001):
        filled.append(zxid, ((CHANGED, "/d7", OPEN_ACL_UNSAFE, None),))
        if zxid % 20_000 == 0:
            filled.about(zxid - 1, "/d7", below=True)
    held = len(filled._blocks)
    assert held <= 50_000 // ring_index.BLOCK_EVENTS + 1
    assert len(put) - before <= 150_000 // ring_index.BLOCK_EVENTS + 1
    for zxid in range(200_001, 260_001):
        filled.append(zxid, ((CHANGED, "/d7", OPEN_ACL_UNSAFE, None),))
    assert len(filled._blocks) == 0  # nobody asks any more, and nothing is kept


def test_500_watches_that_resume_look_at_what_they_missed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client sends when it comes back; each of them once looked through 45,000 changes."""
    state = Machine.new(bytes(range(16)))
    state.apply(1, Record(int(Op.CREATE), 0, 0, 0, 0, (), ("/t", b"", None, 0, 0)))
    for number in range(45_000):
        state.apply(state.index + 1, Record(int(Op.CREATE), 0, 0, 0, 0, (), (f"/t/{number}", b"", None, 0, 0)))
    bench = Bench(state)
    a, client, _ = bench.connected(history_id=state.history_id)
    looked_at = [0]

    def counted(some: Any, *rest: Any) -> Any:
        looked_at[0] += len(some)
        return missed(some, *rest)

    monkeypatch.setattr(answers, "missed", counted)
    for number in range(500):
        bench.send(a, number + 1, Op.ADD_WATCH, f"/t/{number * 90}", number % 2, 1)
    heard = [entry for entry in client.take() if entry[0] == "events"]
    assert len(heard) == 500
    assert looked_at[0] < 1_000
