"""The segment cache: room, drops that can be taken back, and what answers queries."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from made_segments import DAY_MS, START_MS, make_segment, push_segment

from coordserver.client.background import background
from druidroles.coordination.load_queue_runner import LoadFailedError
from druidroles.deepstorage import DeepStorage, DeepStorageError, open_deep_storage
from druidroles.historical.cache import SegmentCache
from druidroles.historical.files import SegmentFiles
from druidroles.historical.locations import CacheLocation, Locations
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment, SegmentDescriptor

HUGE = 10**9
Make = Callable[..., Awaitable[SegmentCache]]


class Gate:
    """A deep storage whose pulls wait until they are let through, and can be made to fail."""

    def __init__(self, storage: DeepStorage) -> None:
        self._storage = storage
        self.open = threading.Event()
        self.open.set()
        self.pulls = 0
        self.fault: Exception | None = None

    def push(self, segment: DataSegment, file: Path) -> DataSegment:
        return self._storage.push(segment, file)

    def pull(self, segment: DataSegment, target: Path) -> None:
        self.pulls += 1
        assert self.open.wait(20)
        if self.fault is not None:
            raise self.fault
        self._storage.pull(segment, target)

    def kill(self, segment: DataSegment) -> None:
        self._storage.kill(segment)


@pytest.fixture
def storage(tmp_path: Path) -> Gate:
    return Gate(open_deep_storage(tmp_path / "deep"))


@pytest.fixture
def files(tmp_path: Path) -> SegmentFiles:
    return SegmentFiles(tmp_path / "segments")


@pytest.fixture
async def make(storage: Gate, files: SegmentFiles) -> AsyncIterator[Make]:
    async with background() as nursery:

        async def open_cache(max_size: int = HUGE, drop_delay_s: float = 1000.0) -> SegmentCache:
            locations = Locations([CacheLocation(files.directory.parent, max_size)])
            cache = SegmentCache(locations, storage, max_size=max_size, load_threads=2, drop_delay_s=drop_delay_s)
            await cache.restore()
            nursery.start_soon(cache.delete_dropped)
            return cache

        yield open_cache


def found(cache: SegmentCache, segment: DataSegment) -> bool:
    return cache.find(segment.data_source, segment.descriptor) is not None


async def gone(cache: SegmentCache, segment: DataSegment) -> None:
    with trio.fail_after(20):
        while found(cache, segment):
            await cache.revision.passed()


async def test_what_is_loaded_is_served_and_counted(make: Make, storage: Gate, tmp_path: Path) -> None:
    cache = await make()
    segment = push_segment(storage, tmp_path)
    assert not found(cache, segment)
    await cache.load(segment)
    assert (cache.served, cache.served_size, cache.loading) == (1, segment.size, 0)
    served = cache.find("flights", segment.descriptor)
    assert served is not None
    assert served.path.stat().st_size == segment.size
    await cache.load(segment)
    assert storage.pulls == 1  # already here: at once


async def test_a_descriptor_may_name_a_piece(make: Make, storage: Gate, tmp_path: Path) -> None:
    cache = await make()
    segment = push_segment(storage, tmp_path, 1, partition=1)
    await cache.load(segment)

    def asked(start: int, end: int, version: str = segment.version, partition: int = 1, name: str = "flights") -> bool:
        return cache.find(name, SegmentDescriptor(Interval(start, end), version, partition)) is not None

    assert asked(START_MS, START_MS + DAY_MS)
    assert asked(START_MS + 1, START_MS + 2)
    assert not asked(START_MS, START_MS + DAY_MS + 1)
    assert not asked(START_MS, START_MS + DAY_MS, version="2025")
    assert not asked(START_MS, START_MS + DAY_MS, partition=0)
    assert not asked(START_MS, START_MS + DAY_MS, name="trains")


async def test_a_restart_serves_what_was_here(make: Make, storage: Gate, tmp_path: Path) -> None:
    segments = [push_segment(storage, tmp_path, day) for day in (1, 2)]
    cache = await make()
    for segment in segments:
        await cache.load(segment)
    again = await make()
    assert again.segments() == segments
    assert all(found(again, segment) for segment in segments)
    assert again.served_size == cache.served_size
    assert storage.pulls == 2


async def test_a_failed_load_gives_its_room_back(make: Make, storage: Gate, tmp_path: Path) -> None:
    segment = push_segment(storage, tmp_path)
    cache = await make(max_size=segment.size)
    storage.fault = DeepStorageError("the storage is away")
    with pytest.raises(LoadFailedError, match="the storage is away"):
        await cache.load(segment)
    storage.fault = OSError(5, "Input/output error")
    with pytest.raises(LoadFailedError, match=r"cannot be stored here: .*Input/output error"):
        await cache.load(segment)
    assert not found(cache, segment)
    storage.fault = None
    await cache.load(segment)
    assert found(cache, segment)


async def test_loads_side_by_side_do_not_take_more_room_than_there_is(
    make: Make, storage: Gate, tmp_path: Path
) -> None:
    one, two = push_segment(storage, tmp_path, 1), push_segment(storage, tmp_path, 2)
    cache = await make(max_size=one.size + two.size - 1)
    storage.open.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.load, one)
        while not cache.loading:
            await cache.revision.passed()
        with pytest.raises(LoadFailedError, match="no room for segment"):
            await cache.load(two)
        storage.open.set()
    assert found(cache, one)


async def test_a_drop_deletes_after_a_while(make: Make, storage: Gate, files: SegmentFiles, tmp_path: Path) -> None:
    segment = push_segment(storage, tmp_path)
    cache = await make(drop_delay_s=0.0)
    await cache.load(segment)
    cache.drop(segment.id)
    assert (cache.served, cache.served_size) == (0, 0)
    await gone(cache, segment)
    with trio.fail_after(20):
        while list(files.directory.iterdir()):  # noqa: ASYNC110 - a thread deletes them
            await trio.sleep(0.01)
    cache.drop(segment.id)  # what is not here cannot be dropped
    await cache.load(segment)
    assert found(cache, segment)


async def test_what_is_dropped_answers_until_it_is_deleted_and_a_reload_takes_it_back(
    make: Make, storage: Gate, tmp_path: Path
) -> None:
    segment = push_segment(storage, tmp_path)
    cache = await make()
    await cache.load(segment)
    cache.drop(segment.id)
    assert found(cache, segment)
    assert cache.segments() == []
    await cache.load(segment)
    assert storage.pulls == 1
    assert cache.segments() == [segment]


async def test_a_reload_saves_a_segment_whose_deletion_was_due(make: Make, storage: Gate, tmp_path: Path) -> None:
    kept, other = push_segment(storage, tmp_path, 1), push_segment(storage, tmp_path, 2)
    cache = await make(drop_delay_s=0.2)
    for segment in (kept, other):
        await cache.load(segment)
        cache.drop(segment.id)
    await cache.load(kept)
    await gone(cache, other)  # dropped later, so the time of `kept` has passed too
    assert found(cache, kept)


async def test_room_that_is_needed_is_taken_from_what_was_dropped(make: Make, storage: Gate, tmp_path: Path) -> None:
    segments = [push_segment(storage, tmp_path, day) for day in (1, 2, 3)]
    cache = await make(max_size=segments[0].size + segments[1].size)
    await cache.load(segments[0])
    await cache.load(segments[1])
    cache.drop(segments[0].id)
    await cache.load(segments[2])
    assert [found(cache, segment) for segment in segments] == [False, True, True]


async def test_a_load_waits_for_a_deletion_under_way(
    make: Make, storage: Gate, files: SegmentFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = push_segment(storage, tmp_path)
    cache = await make(drop_delay_s=0.0)
    await cache.load(segment)
    allowed = threading.Event()
    remove = SegmentFiles.remove

    def slow(self: SegmentFiles, segment_id: str) -> None:
        assert allowed.wait(20)
        remove(self, segment_id)

    monkeypatch.setattr(SegmentFiles, "remove", slow)
    cache.drop(segment.id)
    await gone(cache, segment)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.load, segment)
        await trio.testing.wait_all_tasks_blocked()
        allowed.set()
    assert found(cache, segment)
    assert files.data_path(segment.id).is_file()


async def test_a_segment_of_druids_format_is_a_failed_load_with_that_cause(make: Make) -> None:
    cache = await make()
    with pytest.raises(LoadFailedError, match="foreign format: binaryVersion 9"):
        await cache.load(make_segment(binary_version=9))
