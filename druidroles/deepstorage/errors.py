"""The errors of deep storage.

DeepStorageError               the operation failed, and no partial result was left
 ├─ MissingSegmentError        deep storage does not have the segment
 ├─ CorruptSegmentError        the stored file differs from the segment's metadata
 └─ ForeignSegmentError        the segment is stored elsewhere, or in a format of another program
"""

from __future__ import annotations


class DeepStorageError(Exception):
    """A deep storage operation failed. The text is one line with the segment and the cause."""


class MissingSegmentError(DeepStorageError):
    """The file of the segment does not exist."""


class CorruptSegmentError(DeepStorageError):
    """The size of the segment's file differs from the size in the segment's metadata."""


class ForeignSegmentError(DeepStorageError):
    """The segment names another kind of deep storage, or another file format (Druid's own is binaryVersion 9)."""
