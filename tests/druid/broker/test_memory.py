"""What a Broker has seen served outlives it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from made_segments import make_segment

from druidroles.broker import served_log as module
from druidroles.broker.served_log import ServedMemory
from druidroles.broker.view import BrokerView
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)


class Known:
    """A view's segments, and a memory of them."""

    def __init__(self, directory: Path, watching: str = "all") -> None:
        self.known: dict[str, DataSegment] = {}
        self.memory = ServedMemory(directory, watching, lambda: self)

    def __len__(self) -> int:
        return len(self.known)

    def segments(self) -> list[DataSegment]:
        return list(self.known.values())

    def change(self, segment: DataSegment, known: bool) -> None:
        if known:
            self.known[segment.id] = segment
        else:
            del self.known[segment.id]
        self.memory.note(segment, known)

    async def written(self) -> None:
        """Let the memory write all that is noted."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.memory.run)
            with trio.fail_after(20):
                while self.memory._pending or self.memory._noted.is_set():  # noqa: ASYNC110 - it tells nobody
                    await trio.sleep(0.01)
                found: list[str] = []
                while sorted(found) != sorted(self.known):
                    found = [one.id for one in await Known(self.memory._path.parent).memory.read()]
            nursery.cancel_scope.cancel(reason="written")


async def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    known = Known(tmp_path)
    for day in range(1, 8):
        known.change(make_segment(day, shard_spec=numbered(1, 3)), True)
    await known.written()
    known.change(make_segment(3, shard_spec=numbered(1, 3)), False)
    known.change(make_segment(9), True)
    await known.written()
    found = {segment.id: segment for segment in await Known(tmp_path).memory.read()}
    assert found.keys() == known.known.keys()
    assert found[make_segment(1, shard_spec=numbered(1, 3)).id].shard_spec == numbered(1, 3)


async def test_who_watches_something_else_begins_anew(tmp_path: Path) -> None:
    known = Known(tmp_path)
    known.change(make_segment(1), True)
    await known.written()
    assert await Known(tmp_path, watching="hot").memory.read() == []


async def test_a_line_cut_short_by_a_crash_costs_itself_only(tmp_path: Path) -> None:
    known = Known(tmp_path)
    for day in (1, 2):
        known.change(make_segment(day), True)
    await known.written()
    path = tmp_path / "served"
    path.write_bytes(path.read_bytes()[:-5])
    again = Known(tmp_path)
    [left] = await again.memory.read()
    assert left.id == make_segment(1).id
    again.change(left, True)
    again.change(make_segment(3), True)
    await again.written()
    assert len(await Known(tmp_path).memory.read()) == 2


async def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE_LINES", 5)
    known = Known(tmp_path)
    for _ in range(20):
        known.change(make_segment(1), True)
        await known.written()
        known.change(make_segment(1), False)
        await known.written()
    assert len((tmp_path / "served").read_bytes().splitlines()) <= 1 + 2 + 5


def restarted(old: list[DataSegment], served: list[DataSegment]) -> BrokerView:
    """A view that remembers, sees what is served, and has settled."""
    view = BrokerView()
    view.remember(old)
    for segment in served:
        view.serve("a", segment)
    while view.settle(1):
        pass
    return view


def test_what_is_remembered_and_not_served_is_missing() -> None:
    one, two = make_segment(1), make_segment(2)
    view = restarted([one, two], [two])
    assert list(view.unserved) == [one.id]
    view.set_used({two.id}, view.mark)
    assert not view.forget_unused(10)
    assert not view.unserved
    assert len(view) == 1


def test_a_set_that_was_never_whole_is_not_missed() -> None:
    old, part = make_segment(1), make_segment(1, version="2030", shard_spec=numbered(0, 2))
    view = restarted([old, part], [old])
    assert not view.unserved
    assert len(view) == 1


def test_what_is_served_again_is_known_in_full() -> None:
    segment = make_segment(1)
    bare = DataSegment.from_json({key: segment.to_json()[key] for key in ("dataSource", "interval", "version")})
    view = restarted([bare], [segment])
    timeline = view.timeline("flights")
    assert timeline is not None
    [holder] = timeline.lookup(segment.interval)
    assert holder.chunks[0].value.segment.size == segment.size
