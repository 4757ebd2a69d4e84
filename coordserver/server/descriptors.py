"""How many files the process may have open: a connection is one, and the usual soft limit of 1,024 is few.

The soft limit is there for programs that use `select`, which cannot count further; this one does not, so it takes what
the hard limit allows.
"""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)

RESERVED = 64
"""For the log, snapshots, listening sockets and what the interpreter has open."""


def raise_limit(connections: int) -> int:
    """Raise this process's soft limit to the hard one; the limit then. Says so where it is too low for so many
    connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            _log.warning("the limit of open files stays at %d: %s", soft, error)
    if soft != resource.RLIM_INFINITY and soft < connections + RESERVED:
        _log.info("open files are limited to %d, so there will be fewer than %d connections", soft, connections)
    return soft
