"""The exact state at one index, read in slices while the machine goes on.

Beginning a walk takes a copy of the paths, in slices too, during which the machine must stand still: about 10 ns a
znode. From then on a znode or session that is about to change for the first time leaves its row as it was, unless
the walk was there already; the walk takes that row in its place. So the rows are those of the index at which the walk
began, in the order in which `Machine.snapshot_rows` would have told them then: parents first.

What a walk costs while it goes on: a reference for each znode (8 bytes), and a row for each that changed ahead of it
(`saved_bytes`). When none goes on a change pays for one look at None.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from coordserver.core.state import snapshot
from coordserver.core.state.machine import Machine
from coordserver.core.state.ring_index import Entry
from coordserver.core.state.sessions import Session
from coordserver.core.state.snapshot import Row
from coordserver.core.state.znode import Znode

ROW_BYTES = 500
"""About what a saved row takes beside its data: the tuple, its numbers, its place in a dict."""


class StateWalk:
    """One walk. Call `gather` until it is False, then take `rows`; `close` in any case. One machine, one walk."""

    __slots__ = (
        "_entries",
        "_gathering",
        "_head",
        "_machine",
        "_mark",
        "_paths",
        "_saved",
        "_saved_sessions",
        "_sessions",
        "index",
        "saved_bytes",
        "zxid",
    )

    def __init__(self, machine: Machine) -> None:
        if machine.walk is not None:
            raise RuntimeError("one walk at a time")
        self._machine = machine
        self.index = machine.index
        self.zxid = machine.zxid
        self._head = tuple(machine.head_rows())
        self._gathering = iter(machine.tree.nodes)
        self._paths: list[str] = []
        self._sessions: deque[int] = deque(machine.sessions)
        self._entries = deque(machine.ring.entries())
        self._saved: dict[str, Row] = {}
        self._saved_sessions: dict[int, tuple[int, tuple[Row, ...]]] = {}
        self.saved_bytes = 0
        machine.walks += 1
        self._mark = machine.walks
        machine.walk = machine.tree.walk = self

    def gather(self, count: int) -> bool:
        """Note the next `count` paths; False when all are. The machine must not have changed since the walk began."""
        if self._machine.index != self.index:
            raise RuntimeError("the machine went on while a walk began")
        before = len(self._paths)
        self._paths.extend(islice(self._gathering, count))
        if len(self._paths) - before == count:
            return True
        self._paths.reverse()
        return False

    def rows(self) -> Iterator[Row]:
        """The rows of the state, each made when it is asked for. What was taken is no longer held."""
        yield from self._head
        yield from self._znode_rows()
        yield from self._session_rows()
        yield from snapshot.ring_rows(self._ring_entries())

    def close(self) -> None:
        """The machine need no longer save anything."""
        if self._machine.walk is self:
            self._machine.walk = self._machine.tree.walk = None

    # what changes tell

    def changing(self, path: str, node: Znode) -> None:
        """A znode is about to change, or to go."""
        if node.walk != self._mark:
            node.walk = self._mark
            self._saved[path] = snapshot.znode_row(path, node)
            self.saved_bytes += ROW_BYTES + len(node.data or b"")

    def made(self, node: Znode) -> None:
        """A znode is about to be put in place: it was not there when the walk began."""
        node.walk = self._mark

    def changing_session(self, session: Session) -> None:
        """A session is about to change, or to go."""
        if session.walk != self._mark:
            session.walk = self._mark
            size = ROW_BYTES + session.weight
            self._saved_sessions[session.id] = size, tuple(snapshot.session_rows((session,)))
            self.saved_bytes += size

    def made_session(self, session: Session) -> None:
        """A session is about to begin."""
        session.walk = self._mark

    # the walk

    def _znode_rows(self) -> Iterator[Row]:
        paths, saved, nodes, mark = self._paths, self._saved, self._machine.tree.nodes, self._mark
        while paths:
            path = paths.pop()
            row = saved.pop(path, None)
            if row is None:
                node = nodes[path]
                node.walk = mark
                row = snapshot.znode_row(path, node)
            else:
                self.saved_bytes -= ROW_BYTES + len(row[2] or b"")
            yield row

    def _ring_entries(self) -> Iterator[Entry]:
        entries = self._entries
        while entries:
            yield entries.popleft()

    def _session_rows(self) -> Iterator[Row]:
        sessions, saved = self._machine.sessions, self._saved_sessions
        waiting = self._sessions
        while waiting:
            session_id = waiting.popleft()
            size, rows = saved.pop(session_id, (0, ()))
            if not rows:
                session = sessions[session_id]
                session.walk = self._mark
                rows = tuple(snapshot.session_rows((session,)))
            self.saved_bytes -= size
            yield from rows
