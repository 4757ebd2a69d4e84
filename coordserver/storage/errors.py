"""What storage raises. All are StorageErrors: the server that meets one stops, except for DiskSpaceError.

StorageError                 the disk failed, or what it holds cannot be trusted
 ├─ CorruptionError          bytes on the disk are not what was written there
 ├─ NewerFormatError         a later version of this software wrote the file
 └─ DiskSpaceError           no room for another segment; nothing was written and it may be tried again
"""

from __future__ import annotations

from coordserver.core.errors import StorageError


class CorruptionError(StorageError):
    """Bytes on the disk are not what was written there."""


class NewerFormatError(StorageError):
    """A later version of this software wrote the file; this one must not guess at it."""


class DiskSpaceError(StorageError):
    """There is no room for another segment. Nothing was written; the log is as it was and the append may be
    repeated."""

    definite = True


__all__ = ["StorageError", "CorruptionError", "NewerFormatError", "DiskSpaceError"]
