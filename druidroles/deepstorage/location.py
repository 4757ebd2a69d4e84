"""Where deep storage is: a directory, or an `s3://bucket/prefix`."""

from __future__ import annotations

from pathlib import Path

from druidroles.deepstorage.errors import DeepStorageError
from druidroles.deepstorage.local import open_local
from druidroles.deepstorage.protocol import DeepStorage

DeepStorageLocation = Path | str
"""A path, or a URL as `parse_deep_storage_location` gives it."""


def parse_deep_storage_location(text: str) -> DeepStorageLocation:
    """An `s3://` URL, or else a path. Raises ValueError for a URL of something else."""
    if text.startswith("s3://"):
        if not text.removeprefix("s3://").partition("/")[0]:
            raise ValueError(f"{text!r} is not s3://bucket/prefix")
        return text
    if "://" in text:
        raise ValueError(f"{text!r}: only a directory and s3:// are known")
    return Path(text)


def open_deep_storage(location: DeepStorageLocation) -> DeepStorage:
    """Open what is there. Blocks; raises DeepStorageError."""
    if isinstance(location, Path):
        return open_local(location)
    try:
        from druidroles.deepstorage.s3 import open_s3
    except ImportError as missing:
        raise DeepStorageError(f"deep storage in S3 needs obstore (coordserver[s3]): {missing}") from None
    return open_s3(location)
