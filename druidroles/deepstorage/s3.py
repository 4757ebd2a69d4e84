"""Deep storage in an S3 bucket, or in another service with the same protocol.

Keys are those of Druid's S3 pusher: `{prefix}/{dataSource}/{start}_{end}/{version}/{partition}/index.parquet`, with
colons kept. The load spec is `{"type": "s3", "bucket": …, "key": …}`. It is not Druid's `s3_zip`, because the object is
not a zip file in Druid's format, and Druid must not load it as one.

Credentials, region and endpoint come from AWS's usual environment variables (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`), or from the machine's role. S3 writes an object atomically,
and the object is durable when the service confirms the write.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from druidroles.atomic_files import write_chunks
from druidroles.deepstorage.errors import (
    CorruptSegmentError,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
)
from druidroles.deepstorage.layout import FILE_NAME, check_format, segment_directory
from druidroles.model.segment import DataSegment

log = logging.getLogger(__name__)

LOAD_SPEC_TYPE = "s3"
_CHUNK = 1 << 20
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}  # the caller retries later
_REQUEST_S = 60
_CONNECT_S = 5
_REFUSALS = ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403 Forbidden")


@attrs.frozen
class S3Location:
    """A bucket, and the prefix of its keys without a slash at either end."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> S3Location:
        """Parse `s3://bucket/prefix`. Raises ValueError."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/")
        if not bucket or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
            raise ValueError(f"{url!r} is not s3://bucket/prefix")
        return cls(bucket, prefix)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@attrs.frozen
class S3DeepStorage:
    """A DeepStorage below a location."""

    location: S3Location
    _store: S3Store

    def push(self, segment: DataSegment, file: Path) -> DataSegment:
        parts = (self.location.prefix, *segment_directory(segment), FILE_NAME)
        key = "/".join(part for part in parts if part)
        with _convert_errors(segment, "pushed", key):
            size = file.stat().st_size
            obstore.put(self._store, key, file)
        spec = {"type": LOAD_SPEC_TYPE, "bucket": self.location.bucket, "key": key}
        return attrs.evolve(segment, load_spec=spec, size=size)

    def pull(self, segment: DataSegment, target: Path) -> None:
        """Copy the segment's file to `target`, as DeepStorage.pull says.

        The load spec may name another bucket, which is read with the same credentials.
        """
        check_format(segment)
        bucket, key = _source_object(segment)
        store = self._store if bucket == self.location.bucket else make_store(bucket)
        with _convert_errors(segment, "pulled", key):
            try:
                found = obstore.get(store, key)
            except FileNotFoundError:
                raise MissingSegmentError(
                    f"segment {segment.id} is missing in deep storage: no s3://{bucket}/{key}"
                ) from None
            size = found.meta["size"]
            if size != segment.size:
                raise CorruptSegmentError(
                    f"segment {segment.id} is damaged in deep storage: s3://{bucket}/{key} has {size} bytes, "
                    f"not {segment.size}"
                )
            write_chunks(target, _check_size(map(bytes, found.stream(min_chunk_size=_CHUNK)), size))

    def kill(self, segment: DataSegment) -> None:
        """Delete the segment's object. Raises ForeignSegmentError if it is outside of the location."""
        bucket, key = _source_object(segment)
        inside = not self.location.prefix or key.startswith(self.location.prefix + "/")
        if bucket != self.location.bucket or not inside or ".." in key.split("/"):
            raise ForeignSegmentError(f"segment {segment.id} lies outside of {self.location}: s3://{bucket}/{key}")
        with _convert_errors(segment, "deleted", key):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                log.debug("%s is deleted already", key)


def make_store(bucket: str) -> S3Store:
    """Return a client for a bucket, configured by the environment variables."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    return S3Store(
        bucket,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": timedelta(seconds=_REQUEST_S),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
        },
        retry_config=_RETRIES,
    )


def open_s3(url: str) -> S3DeepStorage:
    """Open deep storage in an existing bucket.

    Raises DeepStorageError if the URL is invalid, or if the service reports that the bucket does not exist or denies
    access. An unreachable service is only logged, because a Historical can still serve the segments that it has.
    """
    try:
        location = S3Location.parse(url)
        store = make_store(location.bucket)
        next(iter(obstore.list(store, prefix=location.prefix or None, chunk_size=1)), None)
    except ValueError as fault:
        raise DeepStorageError(f"deep storage {url} cannot be used: {fault}") from None
    except (BaseError, OSError) as fault:
        text = str(fault)
        if any(refusal in text for refusal in _REFUSALS):
            raise DeepStorageError(f"deep storage {url} cannot be used: {_one_line(fault)}") from None
        log.warning("deep storage %s does not answer: %s", url, _one_line(fault))
    return S3DeepStorage(location, store)


def _source_object(segment: DataSegment) -> tuple[str, str]:
    """Return bucket and key of the segment's load spec."""
    spec = segment.load_spec or {}
    kind, bucket, key = spec.get("type"), spec.get("bucket"), spec.get("key")
    if kind != LOAD_SPEC_TYPE:
        raise ForeignSegmentError(f"segment {segment.id} is not in S3: loadSpec type {kind!r}")
    if not isinstance(bucket, str) or not bucket or not isinstance(key, str) or not key:
        raise ForeignSegmentError(f"segment {segment.id}: loadSpec names no bucket and key")
    return bucket, key


def _check_size(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the chunks. Raises OSError at the end unless they have `size` bytes together."""
    left = size
    for chunk in chunks:
        left -= len(chunk)
        yield chunk
    if left:
        raise OSError(f"{left} of {size} bytes were not received")


@contextmanager
def _convert_errors(segment: DataSegment, action: str, key: str) -> Iterator[None]:
    """Convert an error of the block to a DeepStorageError. `action` is a past participle, such as "pushed"."""
    try:
        yield
    except (BaseError, OSError, ValueError) as fault:
        raise DeepStorageError(f"segment {segment.id} cannot be {action} ({key}): {_one_line(fault)}") from fault


def _one_line(fault: Exception) -> str:
    """Return the message of an error on one line of at most 600 characters, without obstore's debug output."""
    message = str(fault).partition("\n\nDebug source")[0]
    return " ".join(message.split())[:600] or type(fault).__name__
