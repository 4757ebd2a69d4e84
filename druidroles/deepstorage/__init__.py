"""Deep storage: where the files of segments are kept for good, and from where Historicals load them."""

from druidroles.deepstorage.errors import (
    CorruptSegmentError,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
)
from druidroles.deepstorage.local import LocalDeepStorage
from druidroles.deepstorage.location import DeepStorageLocation, open_deep_storage, parse_deep_storage_location
from druidroles.deepstorage.protocol import DeepStorage

__all__ = [
    "CorruptSegmentError",
    "DeepStorage",
    "DeepStorageError",
    "DeepStorageLocation",
    "ForeignSegmentError",
    "LocalDeepStorage",
    "MissingSegmentError",
    "open_deep_storage",
    "parse_deep_storage_location",
]
