"""How much the disk can still take."""

from __future__ import annotations

from enum import Enum


class DiskSpace(Enum):
    """The numbers are those of the metric `coord_disk_fullness`."""

    ENOUGH = 0
    LOW = 1
    """The rest is reserved for what frees space: deletes and snapshots."""
    NONE = 2
    """Nothing is written, and no session expires."""
