"""How many bytes of requests wait for the log, of all connections together.

Nothing is counted for each request. Now and then it is noted up to which record everything was proposed and how much
had been received by then; once that record is applied, all of that is answered. So what was received since the newest
such note is what is outstanding at most, too much by what came between two notes: a sixteenth of the limit, or what
came within a tick.
"""

from __future__ import annotations

from collections import deque

from coordserver.core.serving.engine import Engine

_NOTES = 16


class PendingBytes:
    """Tells the engine's room when there is too much. `weigh_at`: received bytes at which it is time to weigh again."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self._step = max(1, limit // _NOTES)
        self._notes: deque[tuple[int, int]] = deque()
        self._answered = 0
        self.weigh_at = 0
        self.outstanding_bytes = 0

    def weigh(self, received: int) -> None:
        """Judge anew. `received`: bytes since the start, all of whose whole requests were handled."""
        applied = self._engine.machine.index
        proposed = applied + len(self._engine.proposed)
        notes = self._notes
        while notes and notes[0][0] <= applied:
            self._answered = notes.popleft()[1]
        if proposed <= applied:
            self._answered = received
            notes.clear()
        elif not notes or received - notes[-1][1] >= self._step:
            notes.append((proposed, received))
        self.outstanding_bytes = received - self._answered
        self.weigh_at = received + self._step
        self._engine.admission.set_outstanding(self.outstanding_bytes > self._limit)
