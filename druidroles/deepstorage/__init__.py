"""Deep storage: the permanent store of segment files, from which Historicals load their segments."""

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
