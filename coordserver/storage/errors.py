"""What storage raises. All are StorageErrors: the server that meets one of the first two stops.

StorageError                 the disk failed, or what it holds cannot be trusted
 ├─ CorruptionError          bytes on the disk are not what was written there
 ├─ NewerFormatError         a later version of this software wrote the file
 ├─ DiskSpaceError           no room for another segment; nothing was written and it may be tried again
 ├─ LogPurgedError           the log begins later than the index that was asked for
 ├─ LogEndsError             the log ends before the index that was asked for
 └─ TruncationError          the log must not, or cannot, be cut there; nothing was changed
"""

from __future__ import annotations

from coordserver.core.model.errors import StorageError


class CorruptionError(StorageError):
    """Bytes on the disk are not what was written there."""


class NewerFormatError(StorageError):
    """A later version of this software wrote the file; this one must not guess at it."""


class DiskSpaceError(StorageError):
    """There is no room for another segment. Nothing was written; the log is as it was and the append may be
    repeated."""

    definite = True


class LogPurgedError(StorageError):
    """The log begins at `begins`, behind `index`: what was before was purged after a snapshot."""

    def __init__(self, index: int, begins: int) -> None:
        super().__init__(f"index {index} is not in the log, which begins at index {begins}")
        self.index = index
        self.begins = begins


class LogEndsError(StorageError):
    """The last durable record of the log is `ends`, before `index`."""

    def __init__(self, index: int, ends: int) -> None:
        super().__init__(f"index {index} is not in the log, which ends at index {ends}")
        self.index = index
        self.ends = ends


class TruncationError(StorageError):
    """The log must not, or cannot, be cut there. Nothing was changed."""


__all__ = [
    "StorageError",
    "CorruptionError",
    "NewerFormatError",
    "DiskSpaceError",
    "LogPurgedError",
    "LogEndsError",
    "TruncationError",
]
