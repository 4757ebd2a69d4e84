"""The location of deep storage: a directory, or a URL `s3://bucket/prefix`."""

from __future__ import annotations

from pathlib import Path

from druidroles.deepstorage.errors import DeepStorageError
from druidroles.deepstorage.local import open_local
from druidroles.deepstorage.protocol import DeepStorage

DeepStorageLocation = Path | str
"""A path, or a URL that `parse_deep_storage_location` has accepted."""


def parse_deep_storage_location(text: str) -> DeepStorageLocation:
    """Return an `s3://` URL unchanged, and any other text as a path. Raises ValueError for another kind of URL."""
    if text.startswith("s3://"):
        if not text.removeprefix("s3://").partition("/")[0]:
            raise ValueError(f"{text!r} is not s3://bucket/prefix")
        return text
    if "://" in text:
        raise ValueError(f"{text!r}: only a directory and s3:// are known")
    return Path(text)


def open_deep_storage(location: DeepStorageLocation) -> DeepStorage:
    """Open the deep storage at a location. The call blocks. Raises DeepStorageError."""
    if isinstance(location, Path):
        return open_local(location)
    try:
        from druidroles.deepstorage.s3 import open_s3
    except ImportError as missing:
        raise DeepStorageError(f"deep storage in S3 needs obstore (coordserver[s3]): {missing}") from None
    return open_s3(location)
