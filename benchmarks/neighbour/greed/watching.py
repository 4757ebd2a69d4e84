"""Watches: set by the thousand, resumed from long ago, delivered to many."""

from __future__ import annotations

import string
from itertools import islice, product

from coordserver.core.model.operations import Op
from coordserver.wire.native.packing import unpack
from load.lines import Line, Request, heard
from load.speech import JuteSpeech, set_data
from neighbour.greed.attack import Figures, Target, created, do_all, jute, native
from neighbour.greed.tree import create_with_largest_acl

RECURSIVE = 1
DEPTH = 16
_CHANGES_BATCH = 5_000


class WatchesSince:
    """500 addWatch with the zxid of 45,000 changes ago, as our own client sends them when it connects again."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._changes = target.count(45_000)
        self._watches = target.count(500)
        self._since = 0

    def prepare(self) -> Figures:
        """The changes."""
        line = native(self._target.port)
        line.ask(created("/changing"))
        self._since = _zxid(line)
        for _ in range(0, self._changes, _CHANGES_BATCH):
            do_all(line, [set_data("/changing", b"x")] * min(_CHANGES_BATCH, self._changes))
        return {"changes": self._changes}

    def strike(self) -> Figures:
        """A new session, and its watches."""
        line = native(self._target.port)
        try:
            watches: list[Request] = [
                (Op.ADD_WATCH, (f"/elsewhere/{at}", RECURSIVE, self._since)) for at in range(self._watches)
            ]
            return {"watches": do_all(line, watches)}
        finally:
            line.socket.close()


def _zxid(line: Line) -> int:
    """The zxid of an answer."""
    line.socket.sendall(line.encode([(Op.EXISTS, ("/changing", False))])[0])
    return int(unpack(line.frame()[4:])[1])


class SetWatches:
    """setWatches of 100,000 paths in one request of ZooKeeper's protocol."""

    def __init__(self, target: Target) -> None:
        self._target = target
        names = product(string.ascii_lowercase + string.digits, repeat=4)
        self._paths = tuple("/" + "".join(name) for name in islice(names, target.count(100_000)))

    def prepare(self) -> Figures:
        """Nothing: the watches wait for znodes to be created."""
        return {"paths": len(self._paths)}

    def strike(self) -> Figures:
        """A new session, and its watches."""
        line = jute(self._target.port)
        try:
            return {"requests": do_all(line, [(Op.SET_WATCHES, (0, (), self._paths, ()))])}
        finally:
            line.socket.close()


class WatchersOfBigAcl:
    """1,000 recursive watchers high above a znode with a large ACL, which changes."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._setter = jute(target.port)
        self._watchers: list[Line] = []
        self._leaf = "/deep" * DEPTH

    def prepare(self) -> Figures:
        """The znode, and who watches."""
        do_all(self._setter, [created("/deep" * depth) for depth in range(1, DEPTH)])
        entries = create_with_largest_acl(self._setter, self._leaf, self._target.count(20_000))
        for _ in range(self._target.count(1_000)):
            line = Line(self._target.port, JuteSpeech())
            line.ask((Op.ADD_WATCH, ("/deep", RECURSIVE, 0)))
            self._watchers.append(line)
        return {"acl entries": entries, "watchers": len(self._watchers)}

    def strike(self) -> Figures:
        """One change, until each has its event."""
        seconds = heard(self._watchers, self._setter, set_data(self._leaf, b"d"))
        return {"changes": 1, "delivery_s": round(seconds, 3)}
