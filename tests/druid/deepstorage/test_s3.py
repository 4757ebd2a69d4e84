"""Deep storage in S3: what is pushed is pulled; what is wrong is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import attrs
import pytest
from made_segments import make_segment, push_segment
from s3_server import S3Server, s3_server

from druidroles.deepstorage import (
    CorruptSegmentError,
    DeepStorage,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
    open_deep_storage,
    parse_deep_storage_location,
)
from druidroles.deepstorage import s3 as module
from druidroles.model.segment import DataSegment

_numbers = count(1)
KEY = "deep/flights/2013-01-01T00:00:00.000Z_2013-01-02T00:00:00.000Z/2024-01-01T00:00:00.000Z/2/index.parquet"


@pytest.fixture(scope="module")
def service() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(service: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new one; and the environment that leads there."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{next(_numbers)}"
    service.client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def storage(bucket: str) -> DeepStorage:
    return open_deep_storage(parse_deep_storage_location(f"s3://{bucket}/deep/"))


def test_a_segment_lies_where_druid_would_put_it(
    storage: DeepStorage, service: S3Server, bucket: str, tmp_path: Path
) -> None:
    pushed = push_segment(storage, tmp_path, 1, partition=2)
    assert pushed.load_spec == {"type": "s3", "bucket": bucket, "key": KEY}
    assert service.keys(bucket) == [KEY]
    body = service.client.get_object(Bucket=bucket, Key=KEY)["Body"].read()
    assert body == (tmp_path / "built.parquet").read_bytes()
    assert pushed.size == len(body)


def test_what_is_pushed_is_pulled_also_when_pushed_again(storage: DeepStorage, tmp_path: Path) -> None:
    name = {"data_source": "Flüge %20?#~"}
    first = push_segment(storage, tmp_path, rows=50_000, **name)
    again = push_segment(storage, tmp_path, rows=50_000, **name)
    assert (first.load_spec, first.size) == (again.load_spec, again.size)
    target = tmp_path / "target"
    target.mkdir()
    storage.pull(again, target / "pulled.parquet")
    assert (target / "pulled.parquet").read_bytes() == (tmp_path / "built.parquet").read_bytes()
    assert [path.name for path in target.iterdir()] == ["pulled.parquet"]


def test_without_a_prefix(service: S3Server, bucket: str, tmp_path: Path) -> None:
    storage = open_deep_storage(f"s3://{bucket}")
    pushed = push_segment(storage, tmp_path)
    assert service.keys(bucket)[0].startswith("flights/")
    storage.pull(pushed, tmp_path / "pulled")
    storage.kill(pushed)
    assert service.keys(bucket) == []


def without_key(segment: DataSegment) -> DataSegment:
    return attrs.evolve(segment, load_spec={"type": "s3", "bucket": "b"})


def local(segment: DataSegment) -> DataSegment:
    return attrs.evolve(segment, load_spec={"type": "local", "path": "/x"})


def other_size(segment: DataSegment) -> DataSegment:
    return attrs.evolve(segment, size=segment.size + 1)


def of_druid(segment: DataSegment) -> DataSegment:
    return attrs.evolve(segment, binary_version=9)


def elsewhere(segment: DataSegment) -> DataSegment:
    return attrs.evolve(segment, load_spec={"type": "s3", "bucket": "there-is-no-such-bucket", "key": "k"})


def missing(segment: DataSegment) -> DataSegment:
    assert segment.load_spec is not None
    return attrs.evolve(segment, load_spec={**segment.load_spec, "key": "deep/none"})


def outside(segment: DataSegment) -> DataSegment:
    assert segment.load_spec is not None
    return attrs.evolve(segment, load_spec={**segment.load_spec, "key": "deep/../up"})


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (missing, MissingSegmentError, "is missing in deep storage"),
        (elsewhere, DeepStorageError, "segment"),
        (other_size, CorruptSegmentError, "bytes, not"),
        (of_druid, ForeignSegmentError, "foreign format: binaryVersion 9"),
        (local, ForeignSegmentError, "loadSpec type 'local'"),
        (without_key, ForeignSegmentError, "no bucket and key"),
        (outside, DeepStorageError, "cannot be pulled"),
    ],
)
def test_what_cannot_be_pulled_names_segment_and_cause(
    storage: DeepStorage,
    tmp_path: Path,
    spoil: Callable[[DataSegment], DataSegment],
    error: type[DeepStorageError],
    text: str,
) -> None:
    pushed = push_segment(storage, tmp_path)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(error, match=text) as caught:
        storage.pull(spoil(pushed), target / "pulled")
    assert pushed.id in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(target.iterdir()) == []


def test_kill_deletes_and_touches_nothing_outside(
    storage: DeepStorage, service: S3Server, bucket: str, tmp_path: Path
) -> None:
    one, other = (push_segment(storage, tmp_path, 1, partition=number) for number in (0, 1))
    service.client.put_object(Bucket=bucket, Key="deeper/victim", Body=b"mine")
    storage.kill(one)
    storage.kill(one)  # gone already
    for key in ("deeper/victim", "deep/../deeper/victim"):
        with pytest.raises(ForeignSegmentError, match="lies outside"):
            storage.kill(make_segment(load_spec={"type": "s3", "bucket": bucket, "key": key}))
    with pytest.raises(ForeignSegmentError, match="lies outside"):
        storage.kill(make_segment(load_spec={"type": "s3", "bucket": "other", "key": "deep/x"}))
    assert other.load_spec is not None
    assert service.keys(bucket) == [other.load_spec["key"], "deeper/victim"]


def test_buckets_that_cannot_be_used_are_refused(bucket: str, service: S3Server) -> None:
    with pytest.raises(DeepStorageError, match="NoSuchBucket") as caught:
        open_deep_storage("s3://nothing-of-the-kind/deep")
    assert "\n" not in str(caught.value)
    with pytest.raises(DeepStorageError, match=r"is not s3://bucket/prefix"):
        open_deep_storage(f"s3://{bucket}/a/../b")
    for wrong in ("s3://", "gs://bucket/x", "hdfs://x"):
        with pytest.raises(ValueError, match=r"s3://"):
            parse_deep_storage_location(wrong)
    assert parse_deep_storage_location("some/dir") == Path("some/dir")


def test_a_service_that_is_away_is_no_reason_not_to_start(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(module, "_RETRIES", {"max_retries": 0})
    storage = open_deep_storage(f"s3://{bucket}/deep")
    with pytest.raises(DeepStorageError, match="cannot be pushed"):
        push_segment(storage, tmp_path)
