"""What a leader remembers of the tree between two looks at it: since when something is so, and what was before."""

from __future__ import annotations

from collections.abc import Mapping, Set

import attrs
import trio

from druidroles.coordination.task_queue import Place, TaskTree
from druidroles.metadata import TaskRow
from druidroles.overlord.planning.values import Seen


def monotonic_ms() -> int:
    """The clock of the timeouts."""
    return int(trio.current_time() * 1000)


@attrs.frozen
class _Waiting:
    """An assignment that no worker has claimed. `seen`: whether the view has shown it yet."""

    since_ms: int
    seen: bool


class Observations:
    """Of one term. `ran` are the tasks that were seen claimed; `slow` the workers that did not claim in time."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.slow: set[str] = set()
        self._waiting: dict[Place, _Waiting] = {}
        self._gone_since: dict[str, int] = {}
        self._claims: frozenset[Place] = frozenset()

    def note(self, tree: TaskTree, tasks: Mapping[str, TaskRow], now_ms: int) -> None:
        """Bring it up to what the tree shows."""
        self._note_assignments(tree, now_ms)
        silent = ({worker for worker, _ in tree.statuses} | tree.directories) - tree.workers.keys()
        self._gone_since = {worker: self._gone_since.get(worker, now_ms) for worker in silent}
        for worker, task_id in tree.statuses:
            row = tasks.get(task_id)
            if row is not None and row.worker == worker:
                self.ran.add(task_id)
        claims = frozenset(tree.statuses)
        self.slow -= {worker for worker, _ in claims - self._claims}
        self.slow &= tree.workers.keys()
        self._claims = claims

    def _note_assignments(self, tree: TaskTree, now_ms: int) -> None:
        for place in tree.assignments:
            known = self._waiting.get(place)
            self._waiting[place] = _Waiting(now_ms if known is None else known.since_ms, True)
        for place, waiting in list(self._waiting.items()):
            # One that was sent but not shown yet stays: otherwise its task would look pending, and be sent again.
            if place not in tree.assignments and (waiting.seen or place in tree.statuses):
                del self._waiting[place]

    def seen(self, tree: TaskTree, barred: Set[str]) -> Seen:
        """The tree as the planner looks at it."""
        return Seen(
            workers=tree.workers,
            assignments={place: waiting.since_ms for place, waiting in self._waiting.items()},
            statuses=tree.statuses,
            gone_since=self._gone_since,
            ran=self.ran,
            barred=barred,
            slow=self.slow,
        )

    def assigned(self, place: Place, now_ms: int) -> None:
        """An assignment was written; the view may have shown it already."""
        self._waiting.setdefault(place, _Waiting(now_ms, False))

    def withdrawn(self, place: Place) -> None:
        """An assignment was taken back, or is gone."""
        self._waiting.pop(place, None)

    def cleared(self, worker: str) -> None:
        """What a worker had left was removed."""
        self._gone_since.pop(worker, None)
