"""Deep storage in a directory: what is pushed is pulled; what is wrong is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from made_segments import make_segment, push_segment

from druidroles import atomic_files as durable
from druidroles.deepstorage import (
    CorruptSegmentError,
    DeepStorage,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
    open_deep_storage,
)
from druidroles.model.segment import DataSegment


@pytest.fixture
def storage(tmp_path: Path) -> DeepStorage:
    return open_deep_storage(tmp_path / "deep")


def leftovers(directory: Path) -> list[str]:
    """Everything that is not a segment's file."""
    return [str(path) for path in directory.rglob("*") if path.is_file() and path.name != "index.parquet"]


def test_a_segment_lies_where_druid_would_put_it(storage: DeepStorage, tmp_path: Path) -> None:
    pushed = push_segment(storage, tmp_path, 1, partition=2)
    expected = (
        tmp_path
        / "deep/flights/2013-01-01T00:00:00.000Z_2013-01-02T00:00:00.000Z/2024-01-01T00:00:00.000Z/2/index.parquet"
    )
    assert pushed.load_spec == {"type": "local", "path": str(expected)}
    assert pushed.size == expected.stat().st_size == (tmp_path / "built.parquet").stat().st_size
    assert pushed.id == make_segment(1, 2).id


def test_what_is_pushed_is_pulled_also_when_pushed_again(storage: DeepStorage, tmp_path: Path) -> None:
    first = push_segment(storage, tmp_path)
    again = push_segment(storage, tmp_path)
    assert (first.load_spec, first.size) == (again.load_spec, again.size)
    storage.pull(again, tmp_path / "pulled.parquet")
    assert (tmp_path / "pulled.parquet").read_bytes() == (tmp_path / "built.parquet").read_bytes()
    assert leftovers(tmp_path / "deep") == []


def test_what_is_pushed_is_synced_before_it_is_named(
    storage: DeepStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, replace, sync_directory = os.fsync, Path.replace, durable.sync_directory
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda old, new: (seen.append("rename"), replace(old, new))[1])
    monkeypatch.setattr(durable, "sync_directory", lambda at: (seen.append(f"dir {at.name}"), sync_directory(at))[1])
    push_segment(storage, tmp_path)
    assert [what for what in seen if what != "fsync"][-2:] == ["rename", "dir 0"]
    assert seen[seen.index("rename") - 1] == "fsync"
    assert "dir deep" in seen  # the directories above are made durable too


def missing(segment: DataSegment, file: Path) -> DataSegment:
    file.unlink()
    return segment


def cut_short(segment: DataSegment, file: Path) -> DataSegment:
    file.write_bytes(file.read_bytes()[:-1])
    return segment


def of_druid(segment: DataSegment, file: Path) -> DataSegment:
    return attrs.evolve(segment, binary_version=9)


def in_s3(segment: DataSegment, file: Path) -> DataSegment:
    return attrs.evolve(segment, load_spec={"type": "s3_zip", "bucket": "b", "key": "k"})


def relative(segment: DataSegment, file: Path) -> DataSegment:
    return attrs.evolve(segment, load_spec={"type": "local", "path": "index.parquet"})


def without_spec(segment: DataSegment, file: Path) -> DataSegment:
    return attrs.evolve(segment, load_spec=None)


def a_directory(segment: DataSegment, file: Path) -> DataSegment:
    file.unlink()
    file.mkdir()
    return attrs.evolve(segment, size=file.stat().st_size)


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (missing, MissingSegmentError, "is missing in deep storage"),
        (cut_short, CorruptSegmentError, "bytes, not"),
        (of_druid, ForeignSegmentError, "foreign format: binaryVersion 9"),
        (in_s3, ForeignSegmentError, "loadSpec type 's3_zip'"),
        (relative, ForeignSegmentError, "not an absolute path"),
        (without_spec, ForeignSegmentError, "loadSpec type None"),
        (a_directory, DeepStorageError, "Is a directory"),
    ],
)
def test_what_cannot_be_pulled_names_segment_and_cause(
    storage: DeepStorage,
    tmp_path: Path,
    spoil: Callable[[DataSegment, Path], DataSegment],
    error: type[DeepStorageError],
    text: str,
) -> None:
    pushed = push_segment(storage, tmp_path)
    assert pushed.load_spec is not None
    spoilt = spoil(pushed, Path(pushed.load_spec["path"]))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(error, match=text) as caught:
        storage.pull(spoilt, target / "pulled")
    assert pushed.id in str(caught.value)
    assert list(target.iterdir()) == []


def test_a_copy_that_fails_midway_leaves_nothing(
    storage: DeepStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = push_segment(storage, tmp_path)
    target = tmp_path / "target"
    target.mkdir()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeepStorageError, match="No space left on device"):
        storage.pull(pushed, target / "pulled")
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("field", ["data_source", "version"])
@pytest.mark.parametrize("name", ["..", "a/b", "", "a\0b"])
def test_a_name_that_would_leave_the_directory_is_refused(
    storage: DeepStorage, tmp_path: Path, field: str, name: str
) -> None:
    with pytest.raises(DeepStorageError, match="is not a file name"):
        push_segment(storage, tmp_path, **{field: name})
    assert list((tmp_path / "deep").iterdir()) == []


def test_kill_deletes_the_file_and_the_directories_that_it_leaves_empty(storage: DeepStorage, tmp_path: Path) -> None:
    one, other = (push_segment(storage, tmp_path, 1, partition=number) for number in (0, 1))
    storage.kill(one)
    with pytest.raises(MissingSegmentError):
        storage.pull(one, tmp_path / "pulled")
    storage.pull(other, tmp_path / "pulled")
    storage.kill(one)  # gone already
    storage.kill(other)
    assert list((tmp_path / "deep").iterdir()) == []


def test_kill_touches_nothing_outside(storage: DeepStorage, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for path in (str(victim), f"{tmp_path}/deep/../victim"):
        with pytest.raises(ForeignSegmentError, match="lies outside"):
            storage.kill(make_segment(load_spec={"type": "local", "path": path}))
    assert victim.read_text() == "mine"


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeepStorageError, match="No such file"):
        open_deep_storage(tmp_path / "none" / "deep")
    (tmp_path / "file").write_text("")
    with pytest.raises(DeepStorageError, match="cannot be used"):
        open_deep_storage(tmp_path / "file")
