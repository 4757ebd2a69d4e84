"""Requests whose cost grows with the tree: ACLs, children, ephemerals, transactions."""

from __future__ import annotations

from coordserver.core.model.operations import Op
from load.lines import Line, Request
from neighbour.greed.attack import Figures, Target, created, do_all, jute, native, succeeds

ALL = 31


def acl_of(entries: int) -> tuple[tuple[int, str, str], ...]:
    """An ACL whose last entry lets everybody on this machine in, so that each of the entries before it is judged."""
    others = [(ALL, "ip", f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}") for at in range(entries - 1)]
    return (*others, (ALL, "ip", "127.0.0.1"))


def create_with_largest_acl(line: Line, path: str, wanted: int) -> int:
    """Create the znode with an ACL of so many entries, or of as many as the server takes; how many it has."""

    def takes(entries: int) -> bool:
        return succeeds(line, (Op.CREATE, (path, b"d", acl_of(entries), 0, 0)))

    if takes(wanted):
        return wanted
    low, high = 0, wanted
    while high - low > 1:
        middle = (low + high) // 2
        if takes(middle):
            line.ask((Op.DELETE, (path, -1)))
            low = middle
        else:
            high = middle
    if not low or not takes(low):
        raise RuntimeError("the server takes no ACL at all")
    return low


class BigAcl:
    """One multiRead of 1,000 reads of a znode with an ACL of 20,000 entries."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._line = jute(target.port)
        self._reads = target.count(1_000)

    def prepare(self) -> Figures:
        """The znode."""
        entries = create_with_largest_acl(self._line, "/acl", self._target.count(20_000))
        return {"acl entries": entries, "reads": self._reads}

    def strike(self) -> Figures:
        """One multiRead."""
        do_all(self._line, [(Op.MULTI_READ, (((Op.GET_DATA, "/acl", False),) * self._reads,))])
        return {"multiReads": 1}


class CountChildren:
    """300 pipelined getAllChildrenNumber over 100,000 children."""

    def __init__(self, target: Target) -> None:
        self._line = native(target.port)
        self._children = target.count(100_000)
        self._requests = target.count(300)

    def prepare(self) -> Figures:
        """The children."""
        self._line.ask(created("/wide"))
        do_all(self._line, [created(f"/wide/{at:06d}") for at in range(self._children)])
        return {"children": self._children}

    def strike(self) -> Figures:
        """Count them, and again."""
        counts: list[Request] = [(Op.GET_ALL_CHILDREN_NUMBER, ("/wide",))] * self._requests
        return {"counts": do_all(self._line, counts)}


class SixMultis:
    """Six transactions of 10,000 writes each, pipelined."""

    def __init__(self, target: Target) -> None:
        self._line = jute(target.port)
        self._writes = target.count(10_000)

    def prepare(self) -> Figures:
        """The znodes that are written."""
        self._line.ask(created("/multi"))
        do_all(self._line, [created(f"/multi/{at:05d}") for at in range(self._writes)])
        return {"writes each": self._writes}

    def strike(self) -> Figures:
        """The six."""
        writes = tuple((Op.SET_DATA, f"/multi/{at:05d}", b"x" * 20, -1) for at in range(self._writes))
        return {"multis": do_all(self._line, [(Op.MULTI, (writes,))] * 6)}


class Ephemerals:
    """500 pipelined getEphemerals of a session with as many ephemerals as one may have."""

    def __init__(self, target: Target) -> None:
        self._line = native(target.port)
        self._ephemerals = target.count(10_000)
        self._requests = target.count(500)

    def prepare(self) -> Figures:
        """The ephemerals."""
        self._line.ask(created("/owned"))
        do_all(self._line, [created(f"/owned/{at:05d}", mode=1) for at in range(self._ephemerals)])
        return {"ephemerals": self._ephemerals}

    def strike(self) -> Figures:
        """List them, and again."""
        return {"lists": do_all(self._line, [(Op.GET_EPHEMERALS, ("/",))] * self._requests)}
