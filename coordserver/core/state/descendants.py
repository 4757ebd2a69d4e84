"""How many znodes lie below each, kept from the first time that somebody asks.

Few ever ask, so creates pay for one look at None until then. The first question costs one walk over all znodes; from
then on each create and delete counts for the znodes above it, and a question is one look.
"""

from __future__ import annotations

from collections.abc import Iterator

from coordserver.core.model.paths import ROOT
from coordserver.core.state.znode import Znode


class _Count:
    __slots__ = ("below", "total")

    def __init__(self) -> None:
        self.total = 0
        self.below: dict[str, _Count] = {}


class Descendants:
    """Counts of those znodes that have any below, the root not among them; a path is taken apart once (prefixes.py)."""

    __slots__ = ("_root",)

    def __init__(self, nodes: dict[str, Znode]) -> None:
        self._root = _Count()
        for path, node in nodes.items():
            if node.children and path != ROOT:
                self.add(path + "/", len(node.children))

    def of(self, path: str) -> int:
        """How many lie below a path that is not the root."""
        at = self._root
        for name in path[1:].split("/"):
            found = at.below.get(name)
            if found is None:
                return 0
            at = found
        return at.total

    def add(self, path: str, count: int) -> None:
        """`count` znodes at `path` came, or went where it is negative."""
        at, start = self._root, 1
        while (end := path.find("/", start)) >= 0:
            name = path[start:end]
            found = at.below.get(name)
            if found is None:
                found = at.below[name] = _Count()
            found.total += count
            if not found.total:
                del at.below[name]
                return
            at, start = found, end + 1

    def counts(self) -> Iterator[tuple[str, int]]:
        """All of them, by path, in no order that means anything."""
        pending = [("", self._root)]
        while pending:
            above, at = pending.pop()
            for name, below in at.below.items():
                yield f"{above}/{name}", below.total
                pending.append((f"{above}/{name}", below))
