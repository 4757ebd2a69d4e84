"""Deep storage: where the files of segments are kept for good, and from where Historicals load them."""

from druidroles.deepstorage.errors import (
    CorruptSegmentError,
    DeepStorageError,
    ForeignSegmentError,
    MissingSegmentError,
)
from druidroles.deepstorage.local import LocalDeepStorage, open_deep_storage
from druidroles.deepstorage.protocol import DeepStorage

__all__ = [
    "CorruptSegmentError",
    "DeepStorage",
    "DeepStorageError",
    "ForeignSegmentError",
    "LocalDeepStorage",
    "MissingSegmentError",
    "open_deep_storage",
]
