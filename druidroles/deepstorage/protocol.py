"""What tasks and Historicals ask of deep storage, wherever it is.

All methods block (call them in a thread), may be called from several threads and processes at once, and raise
DeepStorageError and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from druidroles.model.segment import DataSegment


class DeepStorage(Protocol):
    """Where segments are kept for good."""

    def push(self, segment: DataSegment, file: Path) -> DataSegment:
        """Keep a segment's file; once it returns, a crash does not lose it.

        Returns the segment with the load spec by which `pull` finds it, and the size of its file. What is there under
        the same id is replaced, whole: to push again what was pushed is harmless.
        """
        ...

    def pull(self, segment: DataSegment, target: Path) -> None:
        """Put a copy of the segment's file at `target`, whose directory exists; whole and on the disk, or not at all.

        Raises MissingSegmentError, CorruptSegmentError, ForeignSegmentError.
        """
        ...

    def kill(self, segment: DataSegment) -> None:
        """Delete what `push` kept; nothing there is fine."""
        ...
