"""How many files the process may have open: a connection is one, and the usual soft limit of 1,024 is few.

The soft limit is there for programs that use `select`, which cannot count further; this one does not, so it takes what
the hard limit allows. Some descriptors are never given to connections: without one for the next segment of the log the
server could not go on.
"""

from __future__ import annotations

import logging
import os
import resource
import sys

_log = logging.getLogger(__name__)

RESERVED = 64
"""Descriptors for the log, snapshots and their downloads, listening sockets, and what the interpreter opens."""

_KEPT = RESERVED // 2
_OPEN_FILES = "/proc/self/fd"


class Descriptors:
    """The limit of open files, and what of it is for connections."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    @classmethod
    def of_process(cls, *, raised: bool) -> Descriptors:
        """Those of this process. `raised`: raise its soft limit to the hard one first."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if raised and soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
                soft = hard
            except (OSError, ValueError) as error:
                _log.warning("the limit of open files stays at %d: %s", soft, error)
        return cls(sys.maxsize if soft == resource.RLIM_INFINITY else soft)

    def connections(self, wanted: int) -> int:
        """How many connections there may be, at most `wanted`. Logs where that is fewer."""
        found = max(1, min(wanted, self.limit - RESERVED - max(open_files(), 0)))
        if found < wanted:
            _log.info(
                "max_connections is lowered from %d to %d: open files are limited to %d", wanted, found, self.limit
            )
        return found

    def leaves_enough(self, descriptor: int) -> bool:
        """Whether enough descriptors are left beside a new one: the kernel gives out the lowest that is free."""
        return descriptor < self.limit - _KEPT


def open_files() -> int:
    """Open descriptors of this process, -1 where the system does not tell. Linux tells the number as the size of their
    directory; before 6.2 it has to be read.
    """
    try:
        return os.stat(_OPEN_FILES).st_size or len(os.listdir(_OPEN_FILES))
    except OSError:
        return -1
