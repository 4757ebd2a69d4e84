"""Names of the files in a data directory.

    log.{first index, 16 hex digits}         a segment of the transaction log
    snapshot.{index, 16 hex digits}          the state after that index
    ….tmp                                    being written; means nothing, removed at the next start
    snapshot.{index}.damaged                 a start could not use it; means nothing, left for whoever looks into it
    lock                                     held with flock while a server runs

Sixteen digits make the order of names the order of indexes. Names of any other form are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LOCK = "lock"
LOG = "log"
SNAPSHOT = "snapshot"
_NAME = re.compile(r"(log|snapshot)\.([0-9a-f]{16})")
_TEMPORARY = re.compile(r"(log|snapshot)\.[0-9a-f]{16}\.tmp")


def log_name(first_index: int) -> str:
    """The segment whose first record has this index."""
    return f"log.{first_index:016x}"


def snapshot_name(index: int) -> str:
    """The snapshot of the state after this index."""
    return f"snapshot.{index:016x}"


def temporary(name: str) -> str:
    """What a file is called until it is complete and synced."""
    return name + ".tmp"


def damaged(name: str) -> str:
    """What a snapshot is called that recovery could not use. It means nothing any more, and is left alone."""
    return name + ".damaged"


def needed_for_start(snapshot_index: int, starts: Iterable[int]) -> list[str]:
    """What a start reads: this snapshot (index 0: none), and of the segments that begin at `starts` those behind it."""
    starts = sorted(starts)
    covering = [start for start in starts if start <= snapshot_index + 1][-1:]
    behind = [start for start in starts if start > snapshot_index + 1]
    snapshot = [snapshot_name(snapshot_index)] if snapshot_index else []
    return snapshot + [log_name(start) for start in covering + behind]


def is_temporary(name: str) -> bool:
    """Whether a name is one that `temporary` makes."""
    return _TEMPORARY.fullmatch(name) is not None


def log_indexes(names: Iterable[str]) -> list[int]:
    """First indexes of the segments among `names`, ascending."""
    return _indexes("log", names)


def snapshot_indexes(names: Iterable[str]) -> list[int]:
    """Indexes of the snapshots among `names`, ascending."""
    return _indexes("snapshot", names)


def _indexes(kind: str, names: Iterable[str]) -> list[int]:
    matches = (_NAME.fullmatch(name) for name in names)
    return sorted(int(match[2], 16) for match in matches if match is not None and match[1] == kind)
