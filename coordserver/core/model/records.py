"""Command records: what the log holds. A record says what was asked; apply decides what it does.

A record type never changes its meaning: a new meaning takes a new number, because logs outlive servers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from coordserver.core.model.acl import Identity


class Record(NamedTuple):
    """One command.

    `op` is an Op that is a write or internal. `number` is the session's request number (0: not remembered), `acked` the
    lowest number still unanswered at the client. `wall_ms` is the wall clock at prep; Stat and TTL use it. `identities`
    are the connection's at prep. `arguments` follow the operation table; in a multi, `arguments[0]` is a tuple of
    `(op, arguments)` pairs. All values are None, bool, int, str, bytes or tuples of them.
    """

    op: int
    session: int
    number: int
    acked: int
    wall_ms: int
    identities: tuple[Identity, ...]
    arguments: tuple[Any, ...]
