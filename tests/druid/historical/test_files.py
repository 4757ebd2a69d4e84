"""The files of a Historical: whole segments survive a restart, everything else goes."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from made_segments import make_segment, push_segment

from druidroles.deepstorage import DeepStorage, DeepStorageError, open_deep_storage
from druidroles.historical.files import NewerFormatError, SegmentFiles
from druidroles.segments.errors import SegmentFileError


@pytest.fixture
def storage(tmp_path: Path) -> DeepStorage:
    return open_deep_storage(tmp_path / "deep")


@pytest.fixture
def files(tmp_path: Path) -> SegmentFiles:
    files = SegmentFiles(tmp_path / "segments")
    assert files.restore() == []
    return files


def test_what_was_fetched_is_restored(files: SegmentFiles, storage: DeepStorage, tmp_path: Path) -> None:
    segments = [push_segment(storage, tmp_path, day) for day in (2, 1)]
    for segment in segments:
        files.fetch(storage, segment)
    restored = files.restore()
    assert [one.to_json() for one in restored] == [one.to_json() for one in reversed(segments)]
    assert all(files.data_path(one.id).is_file() for one in restored)
    files.remove(segments[0].id)
    assert files.restore() == [segments[1]]


def test_names_that_file_systems_do_not_take(files: SegmentFiles, storage: DeepStorage, tmp_path: Path) -> None:
    for name in ("flüge nach New York", "x" * 250, "%2e%2e", "a.json"):
        segment = push_segment(storage, tmp_path, data_source=name)
        files.fetch(storage, segment)
        assert files.restore() == [segment]
        files.remove(segment.id)
    assert list(files.directory.iterdir()) == []


def test_a_failed_fetch_leaves_nothing(files: SegmentFiles, storage: DeepStorage, tmp_path: Path) -> None:
    segment = push_segment(storage, tmp_path)
    assert segment.load_spec is not None
    deep = Path(segment.load_spec["path"])
    sound = deep.read_bytes()
    deep.write_bytes(sound[:100] + bytes(len(sound) - 100))  # the right size and the wrong bytes
    with pytest.raises(SegmentFileError):
        files.fetch(storage, segment)
    deep.unlink()
    with pytest.raises(DeepStorageError):
        files.fetch(storage, segment)
    assert list(files.directory.iterdir()) == []


def test_what_a_crash_left_is_removed(files: SegmentFiles, storage: DeepStorage, tmp_path: Path) -> None:
    kept, cut, without_data, without_info = (push_segment(storage, tmp_path, day) for day in (1, 2, 3, 4))
    for segment in (kept, cut, without_data, without_info):
        files.fetch(storage, segment)
    with files.data_path(cut.id).open("r+b") as file:
        file.truncate(10)
    files.data_path(without_data.id).unlink()
    files.data_path(without_info.id).with_suffix(".json").unlink()
    (files.directory / ".x.parquet.1234.tmp").write_bytes(b"half")
    (files.directory / "garbage.json").write_bytes(b"{")
    (files.directory / "not ours").write_bytes(b"")
    assert files.restore() == [kept]
    left = {path.name for path in files.directory.iterdir()}
    assert left == {files.data_path(kept.id).name, files.data_path(kept.id).with_suffix(".json").name, "not ours"}


def test_files_of_a_newer_version_are_refused_and_kept(
    files: SegmentFiles, storage: DeepStorage, tmp_path: Path
) -> None:
    segment = push_segment(storage, tmp_path)
    info = files.fetch(storage, segment).with_suffix(".json")
    info.write_text(json.dumps({**json.loads(info.read_text()), "format": 2}))
    before = sorted(files.directory.iterdir())
    with pytest.raises(NewerFormatError, match="format 2; this version reads 1"):
        files.restore()
    assert sorted(files.directory.iterdir()) == before


def test_a_segment_in_druids_format_is_refused(files: SegmentFiles, storage: DeepStorage) -> None:
    with pytest.raises(DeepStorageError, match="foreign format: binaryVersion 9"):
        files.fetch(storage, attrs.evolve(make_segment(), binary_version=9))
