"""The interface of deep storage for tasks and Historicals.

All methods block, so call them in a thread. Several threads and processes may call them at the same time. They raise
only DeepStorageError.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from druidroles.model.segment import DataSegment


class DeepStorage(Protocol):
    """The permanent store of segment files."""

    def push(self, segment: DataSegment, file: Path) -> DataSegment:
        """Store a copy of a segment's file. When the call returns, the copy survives a crash.

        Returns the segment with the size of the file and with the load spec that `pull` needs. A file of the same
        segment id is replaced atomically, so a push may be repeated.
        """
        ...

    def pull(self, segment: DataSegment, target: Path) -> None:
        """Copy the segment's file to `target`. The directory of `target` must exist.

        When the call returns, the copy is complete and synced to disk; when it raises, there is no copy. Raises
        MissingSegmentError, CorruptSegmentError, ForeignSegmentError.
        """
        ...

    def kill(self, segment: DataSegment) -> None:
        """Delete the file that `push` stored. A missing file is not an error."""
        ...
