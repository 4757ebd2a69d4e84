"""What can go wrong with deep storage.

DeepStorageError               it could not be done; nothing was left half done
 ├─ MissingSegmentError        deep storage does not have the segment
 ├─ CorruptSegmentError        what it has is not what the segment says
 └─ ForeignSegmentError        the segment is kept elsewhere, or in a format that is not ours
"""

from __future__ import annotations


class DeepStorageError(Exception):
    """Deep storage could not do it. The text is one line that names the segment and the cause."""


class MissingSegmentError(DeepStorageError):
    """The file of the segment is not there."""


class CorruptSegmentError(DeepStorageError):
    """The file of the segment does not have the size that the segment says."""


class ForeignSegmentError(DeepStorageError):
    """The segment names another kind of deep storage, or another file format (Druid's own is binaryVersion 9)."""
