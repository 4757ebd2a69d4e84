"""ACL values. Evaluation is beside the tree; schemes are ZooKeeper's (ZooKeeper programmer's guide, "ACL")."""

from __future__ import annotations

from typing import NamedTuple

READ = 1
WRITE = 2
CREATE = 4
DELETE = 8
ADMIN = 16
ALL = 31


class Identity(NamedTuple):
    """Who a connection is, or whom an ACL entry names."""

    scheme: str
    id: str


class ACL(NamedTuple):
    """One entry: permission bits for an identity."""

    perms: int
    scheme: str
    id: str


OPEN_ACL_UNSAFE: tuple[ACL, ...] = (ACL(ALL, "world", "anyone"),)
READ_ACL_UNSAFE: tuple[ACL, ...] = (ACL(READ, "world", "anyone"),)
CREATOR_ALL_ACL: tuple[ACL, ...] = (ACL(ALL, "auth", ""),)
