"""Several cache locations: who takes the next segment, and what the cache makes of them."""

from __future__ import annotations

import random
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from made_segments import push_segment

from druidroles.coordination.load_queue_runner import LoadFailedError
from druidroles.deepstorage import open_deep_storage
from druidroles.historical.cache import SegmentCache
from druidroles.historical.files import SegmentFiles
from druidroles.historical.locations import CacheLocation, Location, Locations, Selector
from druidroles.model.segment import DataSegment

Usage = namedtuple("Usage", "total used free")


def make(selector: Selector, sizes: list[int], used: list[int]) -> Locations:
    locations = Locations(
        [CacheLocation(Path(f"/{at}"), size) for at, size in enumerate(sizes)], selector, random.Random(1)
    )
    for location, taken in zip(locations.all, used, strict=True):
        location.used = taken
    return locations


async def chosen(locations: Locations, size: int, times: int = 1, but: tuple[Location, ...] = ()) -> list[str]:
    names = []
    for _ in range(times):
        location = await locations.choose(size, but)
        names.append(location.settings.path.name if location is not None else "")
    return names


async def test_least_bytes_used() -> None:
    locations = make(Selector.LEAST_BYTES_USED, [100, 1000, 50], [20, 30, 10])
    assert await chosen(locations, 40) == ["2"]
    assert await chosen(locations, 41) == ["0"]  # the first has no room for it
    assert await chosen(locations, 900) == ["1"]
    assert await chosen(locations, 971) == [""]
    assert await chosen(locations, 1, but=(locations.all[2],)) == ["0"]


async def test_most_available_size() -> None:
    assert await chosen(make(Selector.MOST_AVAILABLE_SIZE, [100, 1000, 50], [0, 930, 0]), 10) == ["0"]


async def test_round_robin_goes_on_after_the_one_that_took() -> None:
    locations = make(Selector.ROUND_ROBIN, [100, 5, 100], [0, 0, 0])
    assert await chosen(locations, 10, times=5) == ["0", "2", "0", "2", "0"]


async def test_random_takes_each_some_time_and_only_where_there_is_room() -> None:
    locations = make(Selector.RANDOM, [100, 5, 100], [0, 0, 0])
    assert set(await chosen(locations, 10, times=50)) == {"0", "2"}


async def test_a_disk_keeps_its_share_free_whoever_fills_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locations = Locations([CacheLocation(tmp_path, 10**6, free_space_percent=10.0)])
    for free, takes in ((150, True), (149, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: Usage(1000, 1000 - free, free))
        assert (await locations.choose(50, ()) is not None) == takes


class TwoDisks:
    """A cache over two locations."""

    def __init__(self, directory: Path, sizes: tuple[int, int]) -> None:
        self.storage = open_deep_storage(directory / "deep")
        self.paths = [directory / name for name in ("disk-1", "disk-2")]
        for path in self.paths:
            path.mkdir(exist_ok=True)
        settings = [CacheLocation(path, size) for path, size in zip(self.paths, sizes, strict=True)]
        locations = Locations(settings)
        self.cache = SegmentCache(
            locations, self.storage, max_size=locations.max_size, load_threads=2, drop_delay_s=1000.0
        )

    def where(self, segment: DataSegment) -> list[str]:
        """The disks that have the file."""
        found = [path for path in self.paths if SegmentFiles(path / "segments").data_path(segment.id).is_file()]
        served = self.cache.find(segment.data_source, segment.descriptor)
        assert [served.path.parent.parent] == found if served is not None else not found
        return [path.name for path in found]


async def test_segments_are_spread_and_found_again(tmp_path: Path) -> None:
    storage = open_deep_storage(tmp_path / "deep")
    segments = [push_segment(storage, tmp_path, day) for day in range(1, 5)]
    disks = TwoDisks(tmp_path, (10**6, 10**6))
    await disks.cache.restore()
    for segment in segments:
        await disks.cache.load(segment)
    assert sorted(disks.where(segment)[0] for segment in segments) == ["disk-1", "disk-1", "disk-2", "disk-2"]
    again = TwoDisks(tmp_path, (10**6, 10**6))
    await again.cache.restore()
    assert sorted(one.id for one in again.cache.segments()) == [one.id for one in segments]
    assert again.cache.served_size == sum(one.size for one in segments)


async def test_what_lies_in_two_locations_is_kept_in_one(tmp_path: Path) -> None:
    segment = push_segment(open_deep_storage(tmp_path / "deep"), tmp_path)
    first = TwoDisks(tmp_path, (10**6, 10**6))
    await first.cache.restore()
    await first.cache.load(segment)
    shutil.copytree(tmp_path / "disk-1" / "segments", tmp_path / "disk-2" / "segments", dirs_exist_ok=True)
    again = TwoDisks(tmp_path, (10**6, 10**6))
    await again.cache.restore()
    assert again.where(segment) == ["disk-1"]
    assert again.cache.served_size == segment.size


async def test_a_segment_must_fit_into_one_location_and_the_refusal_names_them(tmp_path: Path) -> None:
    segment = push_segment(open_deep_storage(tmp_path / "deep"), tmp_path)
    disks = TwoDisks(tmp_path, (segment.size - 1, segment.size - 1))
    await disks.cache.restore()
    with pytest.raises(LoadFailedError, match=rf"no room .*; .*disk-1: {segment.size - 1} bytes free; .*disk-2: "):
        await disks.cache.load(segment)


async def test_room_is_made_in_the_location_where_it_helps(tmp_path: Path) -> None:
    storage = open_deep_storage(tmp_path / "deep")
    one, two, three = (push_segment(storage, tmp_path, day) for day in (1, 2, 3))
    disks = TwoDisks(tmp_path, (one.size, one.size // 2))
    await disks.cache.restore()
    await disks.cache.load(one)
    disks.cache.drop(one.id)
    await disks.cache.load(two)
    assert (disks.where(one), disks.where(two)) == ([], ["disk-1"])
    with pytest.raises(LoadFailedError, match="no room"):
        await disks.cache.load(three)
    assert disks.where(two) == ["disk-1"]


async def test_where_one_disk_fails_another_takes_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_deep_storage(tmp_path / "deep")
    one, two = (push_segment(storage, tmp_path, day) for day in (1, 2))
    disks = TwoDisks(tmp_path, (10**6, 10**6))
    await disks.cache.restore()
    fetch = SegmentFiles.fetch

    def failing(self: SegmentFiles, *arguments: object) -> Path:
        if self.directory.parent.name in broken:
            raise OSError(5, f"{self.directory.parent.name} is broken")
        return fetch(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SegmentFiles, "fetch", failing)
    broken = {"disk-1"}
    await disks.cache.load(one)
    assert disks.where(one) == ["disk-2"]
    broken.add("disk-2")
    with pytest.raises(LoadFailedError, match=r"cannot be stored here: .*disk-1 is broken; .*disk-2 is broken"):
        await disks.cache.load(two)
    assert disks.cache.loading == 0
