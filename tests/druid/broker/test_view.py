"""The Broker's view from deltas: atomic versions, lost servers, moves, and what is missing."""

from __future__ import annotations

from druidroles.broker.view import BrokerView
from druidroles.coordination.changes import Deltas
from druidroles.model.interval import ETERNITY, Interval
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered


def segment(version: str = "1", start: int = 0, end: int = 10, part: int = 0, of: int = 1) -> DataSegment:
    """One partition of [start, end)."""
    return DataSegment("d", Interval(start, end), version, shard_spec=numbered(part, of))


def shown(view: BrokerView) -> dict[str, list[str]]:
    """What shows: segment id (its start, version and partition), to servers."""
    timeline = view.timeline("d")
    holders = timeline.lookup(ETERNITY) if timeline is not None else []
    return {
        f"{holder.interval.start_ms} {holder.version}.{chunk.spec.partition_num}": sorted(chunk.value.servers)
        for holder in holders
        for chunk in holder.chunks
    }


def set_used(view: BrokerView, ids: set[str], mark: int) -> None:
    """A reading, taken whole; one segment at a time."""
    view.set_used(ids, mark)
    while view.forget_unused(1):
        pass


def test_a_newer_version_shows_only_when_it_is_served_whole() -> None:
    """By whichever servers; the older one answers until then."""
    view = BrokerView()
    view.serve("a", segment("1"))
    view.serve("a", segment("2", part=0, of=2))
    assert shown(view) == {"0 1.0": ["a"]}
    view.serve("b", segment("2", part=1, of=2))
    assert shown(view) == {"0 2.0": ["a"], "0 2.1": ["b"]}


def test_a_newer_version_that_never_was_whole_leaves_no_trace() -> None:
    """Its first partition is lost before the second comes: the older one goes on answering, even after that."""
    view = BrokerView()
    view.serve("a", segment("1"))
    view.serve("b", segment("2", part=0, of=2))
    view.unserve("b", segment("2", part=0, of=2).id)
    view.serve("a", segment("2", part=1, of=2))
    assert shown(view) == {"0 1.0": ["a"]}
    assert not view.unserved


def test_a_lost_segment_stays_until_it_is_known_to_be_unused() -> None:
    """Nobody serves it, but it shows, so that a query over it can fail."""
    view = BrokerView()
    lost, kept = segment(), segment(start=10, end=20)
    for one in (lost, kept):
        view.serve("a", one)
    set_used(view, {lost.id, kept.id}, view.mark)
    view.unserve("a", lost.id)
    assert shown(view) == {"0 1.0": [], "10 1.0": ["a"]}
    assert list(view.unserved) == [lost.id]
    set_used(view, {kept.id}, view.mark)
    assert shown(view) == {"10 1.0": ["a"]}


def test_a_lost_segment_that_comes_back_is_served_again() -> None:
    """As after a restart of its server."""
    view = BrokerView()
    view.serve("a", segment())
    view.unserve("a", segment().id)
    view.serve("b", segment())
    assert shown(view) == {"0 1.0": ["b"]}
    assert not view.unserved


def test_a_segment_known_to_be_unused_goes_with_its_last_server() -> None:
    """The usual way of a drop: marked unused, then dropped."""
    view = BrokerView()
    view.serve("a", segment())
    view.serve("b", segment())
    set_used(view, set(), view.mark)
    view.unserve("a", segment().id)
    assert shown(view) == {"0 1.0": ["b"]}
    view.unserve("b", segment().id)
    assert shown(view) == {}
    assert view.data_sources() == []
    assert len(view) == 0


def test_a_reading_older_than_the_segment_says_nothing_of_it() -> None:
    """It began before the segment came, so it may not have known it."""
    view = BrokerView()
    mark = view.mark
    view.serve("a", segment())
    view.unserve("a", segment().id)
    set_used(view, set(), mark)
    assert shown(view) == {"0 1.0": []}
    set_used(view, set(), view.mark)
    assert shown(view) == {}


def test_a_move_is_no_absence_whatever_the_order_of_the_deltas() -> None:
    """From one server to the other, and from batch to batch: additions are taken first."""
    view = BrokerView()
    view.serve("a", segment())
    set_used(view, set(), view.mark)  # so that an absence would drop it, and what comes then would be new
    mark = view.mark
    deltas: Deltas[tuple[str, str], DataSegment] = Deltas()
    deltas.put(("a", segment().id), segment(), None)
    deltas.put(("b", segment().id), None, segment())
    view.apply(deltas.take())
    assert shown(view) == {"0 1.0": ["b"]}
    assert view.mark == mark


def test_a_set_that_lost_a_part_for_good_gives_way_to_the_older_one() -> None:
    """And what is unserved of it goes too: it must be served whole again before it counts."""
    view = BrokerView()
    old, first, second = segment("1"), segment("2", part=0, of=2), segment("2", part=1, of=2)
    for one in (old, first, second):
        view.serve("a", one)
    view.unserve("a", first.id)
    assert shown(view) == {"0 2.0": [], "0 2.1": ["a"]}
    set_used(view, {old.id, first.id}, view.mark)
    view.unserve("a", second.id)
    assert shown(view) == {"0 1.0": ["a"]}
    view.serve("b", second)
    assert shown(view) == {"0 1.0": ["a"]}
    view.serve("b", first)
    assert shown(view) == {"0 2.0": ["b"], "0 2.1": ["b"]}


def test_what_is_not_known_cannot_go() -> None:
    """A removal of something never added changes nothing."""
    view = BrokerView()
    view.unserve("a", "x")
    view.serve("a", segment())
    view.unserve("b", segment().id)
    assert shown(view) == {"0 1.0": ["a"]}
