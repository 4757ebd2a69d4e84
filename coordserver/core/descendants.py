"""How many znodes lie below each, kept from the first time that somebody asks.

Few ever ask, so creates pay for one look at None until then. The first question costs one walk over all znodes; from
then on each create and delete counts for the znodes above it, and a question costs one look.
"""

from __future__ import annotations

from coordserver.core.paths import ROOT
from coordserver.core.znode import Znode


class Descendants:
    """Counts by path, of those that have any. The root's is not among them."""

    __slots__ = ("_below",)

    def __init__(self, nodes: dict[str, Znode]) -> None:
        """Count all of `nodes`, in which parents come before their children."""
        self._below: dict[str, int] = {}
        below = self._below
        for path, node in reversed(nodes.items()):
            if not node.children:
                continue
            count = below[path] = below.get(path, 0) + len(node.children)
            above = path[: path.rfind("/")]
            if above:
                below[above] = below.get(above, 0) + count
        below.pop(ROOT, None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descendants) and other._below == self._below

    __hash__ = None  # type: ignore[assignment]

    def of(self, path: str) -> int:
        """How many lie below a path that is not the root."""
        return self._below.get(path, 0)

    def add(self, path: str, count: int) -> None:
        """`count` znodes at `path` came, or went where it is negative."""
        below = self._below
        path = path[: path.rfind("/")]
        while path:
            total = below.get(path, 0) + count
            if total:
                below[path] = total
            else:
                del below[path]
            path = path[: path.rfind("/")]
