"""The Stat of a znode, with ZooKeeper's fields in ZooKeeper's order (org.apache.zookeeper.data.Stat)."""

from __future__ import annotations

from typing import NamedTuple


class Stat(NamedTuple):
    """What is known of a znode besides its data.

    zxids are of the change that created (c), last set (m) or last added or removed a child of (p) the znode; times are
    wall-clock milliseconds since 1970; `ephemeral_owner` is a session id, or 0.
    """

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int
