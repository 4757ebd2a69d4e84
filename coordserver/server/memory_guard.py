"""How much memory the state takes, and how much it may.

What is judged is an estimate from counters that are kept anyway: memory that was given back is not seen in what the
kernel tells of a process until whole arenas are free, so a server that had been full would stay so. What the estimate
leaves out (large ACLs, what is on its way to clients) is guarded by the kernel's number, above a higher mark.
"""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import trio

from coordserver.core.serving.engine import Engine

_log = logging.getLogger(__name__)

LOOK_S = 0.5
SHARE = 0.8
"""Of what the process may use, where nothing is set."""
RESIDENT_SHARE = 1.1
"""Of the ceiling: what the process may really take, once the estimate says that half of it is the state."""
LEAST_FOR_CONNECTIONS = 64 * 1024 * 1024
MOST_FOR_CONNECTIONS = 512 * 1024 * 1024
PROGRAM_BYTES = 64 * 1024 * 1024
"""What the program takes before there is any state."""

ZNODE_BYTES = 530
"""A znode, its place in the tree and in its parent, and the path's and the name's overhead; measured."""
WATCH_BYTES = 250
SESSION_BYTES = 2_500
"""A session with its live part and its place in the queue of deadlines."""
EVENT_BYTES = 250

_CGROUPS = Path("/sys/fs/cgroup")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryGuard:
    """Tells the engine when memory is full. `limit_bytes` 0: `SHARE` of what the process may use."""

    def __init__(self, engine: Engine, limit_bytes: int) -> None:
        self._engine = engine
        self.limit_bytes = limit_bytes or int(SHARE * usable_bytes())

    async def run(self) -> None:
        """Look twice a second, until cancelled."""
        while True:
            self.look()
            await trio.sleep(LOOK_S)

    def look(self) -> None:
        """Judge, from counters."""
        estimated = self.estimated_bytes()
        over = estimated > self.limit_bytes
        if not over and estimated > self.limit_bytes // 2:
            over = resident_bytes() > RESIDENT_SHARE * self.limit_bytes + PROGRAM_BYTES
        if over and not self._engine.admission.memory_full:
            _log.error(
                "memory is full: about %d MiB of %d; only deletes are taken", estimated >> 20, self.limit_bytes >> 20
            )
        self._engine.admission.set_memory(over)

    def estimated_bytes(self) -> int:
        """Of tree, sessions, watches, remembered outcomes and events. Costs as much as there are connections."""
        machine = self._engine.machine
        tree = machine.tree
        watches, _ = self._engine.watches.counts()
        return (
            len(tree.nodes) * ZNODE_BYTES
            + 2 * tree.path_bytes
            + tree.data_bytes
            + watches * WATCH_BYTES
            + len(machine.sessions) * SESSION_BYTES
            + machine.remembered_bytes
            + len(machine.ring) * EVENT_BYTES
        )


def resident_bytes() -> int:
    """What the process takes now; 0 where the kernel does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def usable_bytes() -> int:
    """What this process may use: the least of the machine's memory, its own limits, and those of its control groups."""
    return min(_limits())


def share_for_connections(least: int) -> int:
    """Bytes that all connections together may hold of one kind, where nothing is set: a 32nd of what the process may
    use, but `least` or more, and otherwise no more than 512 MiB.
    """
    return max(least, LEAST_FOR_CONNECTIONS, min(usable_bytes() // 32, MOST_FOR_CONNECTIONS))


def _limits() -> Iterator[int]:
    yield os.sysconf("SC_PHYS_PAGES") * _PAGE
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft
    yield from _cgroup_limits()


def _cgroup_limits(groups: str = "/proc/self/cgroup", root: Path = _CGROUPS) -> Iterator[int]:
    """Of version 2 that of the group and all above it; of version 1 those of the memory controller."""
    try:
        lines = Path(groups).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base, name = (root, "memory.max") if not controllers else (root / "memory", "memory.limit_in_bytes")
        group = base / path.lstrip("/")
        for at in (group, *group.parents):
            if not at.is_relative_to(base):
                break
            limit = _number(at / name)
            if limit is not None:
                yield limit


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
