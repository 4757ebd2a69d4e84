"""One znode. Plain slots: there may be millions of them."""

from __future__ import annotations

import re

from coordserver.core.model.acl import ACL
from coordserver.core.model.stat import Stat

_new = tuple.__new__

CONTAINER_TTL = -1
"""The value of `ttl` that marks a container."""


_is_long = re.compile(r"[+-]?\d{1,40}").fullmatch
"""Digits enough for every long and a few leading zeros, and few enough to be read at once."""


def wrap32(value: int) -> int:
    """`value` as the signed 32-bit number that travels."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def wrap64(value: int) -> int:
    """`value` as Java's long, which wraps round."""
    return (value + (1 << 63) & (1 << 64) - 1) - (1 << 63)


def long(text: str) -> int:
    """What Java's Long.parseLong makes of `text`. Raises ValueError where that refuses it."""
    value = int(text) if _is_long(text) else 1 << 64
    if value != wrap64(value):
        raise ValueError(f"not a long: {text[:40]!r}")
    return value


class Znode:
    """A znode's data and bookkeeping.

    `creates` counts the children ever created; sequence numbers are drawn from it, and the cversion that clients see is
    `2 * creates - len(children)`, as in ZooKeeper. `owner` is the session of an ephemeral, else 0. `ttl` is 0, or
    CONTAINER_TTL, or milliseconds. `children` is None until there is one, then a dict in order of creation. `walk` is
    the number of the last walk (walk.py) that has been here or need not come.
    """

    __slots__ = (
        "_names",
        "_stat",
        "acl",
        "aversion",
        "children",
        "creates",
        "ctime",
        "czxid",
        "data",
        "mtime",
        "mzxid",
        "owner",
        "pzxid",
        "ttl",
        "version",
        "walk",
    )

    def __init__(
        self, data: bytes | None, acl: tuple[ACL, ...], zxid: int, wall_ms: int, owner: int = 0, ttl: int = 0
    ) -> None:
        self.data = data
        self.acl = acl
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = wall_ms
        self.version = self.creates = self.aversion = 0
        self.owner = owner
        self.ttl = ttl
        self.walk = 0
        self.children: dict[str, None] | None = None
        self._stat: Stat | None = None
        self._names: tuple[str, ...] | None = None

    def stat(self) -> Stat:
        """The Stat as clients see it; made once and kept until the znode changes (`touch`)."""
        stat = self._stat
        if stat is None:
            children = self.children
            count = len(children) if children else 0
            cversion = 2 * self.creates - count
            if cversion > 0x7FFFFFFF:
                cversion = wrap32(cversion)
            data = self.data
            stat = self._stat = _new(
                Stat,
                (
                    self.czxid,
                    self.mzxid,
                    self.ctime,
                    self.mtime,
                    self.version,
                    cversion,
                    self.aversion,
                    self.owner,
                    len(data) if data else 0,
                    count,
                    self.pzxid,
                ),
            )
        return stat

    def names(self) -> tuple[str, ...]:
        """The children's names in order of creation: the very same tuple until the znode changes, so that an edge may
        encode it once."""
        names = self._names
        if names is None:
            names = self._names = tuple(self.children) if self.children else ()
        return names

    def touch(self) -> None:
        """Forget what is kept: a field is about to change."""
        self._stat = self._names = None
