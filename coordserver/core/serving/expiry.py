"""When sessions expire.

Session time is the monotonic clock less all lateness: when the server itself was stopped or starved, its clients could
not be heard, so the time lost is given to every session at once by letting session time stand still.

An expiry that failed is due again after a pause, which doubles up to RETRY_MS_MAX; who is heard of meanwhile lives on.

A touch is one assignment. The queue holds one live entry per session, keyed by the deadline known when it was queued;
when that comes, the entry is queued again if the session was heard of since. An entry is alive while it equals its
session's `scheduled`; a timeout that became shorter queues a new one and so kills the old.
"""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar

RETRY_MS = 1_000
RETRY_MS_MAX = 60_000


class Expiring(Protocol):
    """A session as this module needs it: times in ms of session time."""

    id: int
    touched: int
    timeout_ms: int
    scheduled: int
    closing: bool
    expiries_failed: int


S = TypeVar("S", bound=Expiring)


class Expiry(Generic[S]):
    """The deadlines of all sessions. `shift` is all lateness so far: session time is the clock's less this.

    Of expiries it is counted how many `ended` a session, how many `failed`, and by which `fault` the last did.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._sessions: dict[int, S] = {}
        self._judged = 0  # session time when `due` was asked last
        self.shift = 0
        self.ended = 0
        self.failed = 0
        self.fault = ""

    def time(self, now_ms: int) -> int:
        """Session time."""
        return now_ms - self.shift

    def extend(self, late_ms: int) -> None:
        """Give every session `late_ms` more."""
        self.shift += late_ms

    def add(self, session: S) -> None:
        """Begin to watch over a session, or notice that its timeout changed."""
        self._sessions[session.id] = session
        deadline = session.touched + session.timeout_ms
        if session.scheduled < 0 or deadline < session.scheduled:
            session.scheduled = deadline
            heapq.heappush(self._heap, (deadline, session.id))

    def renew(self, session: S, now_ms: int) -> None:
        """Give a due session its full timeout again."""
        session.touched = self.time(now_ms)
        session.scheduled = -1
        self.add(session)

    def again(self, session: S, fault: str) -> None:
        """The session was due and could not be ended: it goes on, and is due again after a pause."""
        self.failed += 1
        self.fault = fault
        session.closing = False
        session.expiries_failed += 1
        pause = min(RETRY_MS << min(session.expiries_failed - 1, 16), RETRY_MS_MAX)
        session.scheduled = self._judged + pause
        heapq.heappush(self._heap, (session.scheduled, session.id))

    def remove(self, session: S) -> None:
        """The session has ended."""
        self._sessions.pop(session.id, None)

    def due(self, now_ms: int) -> list[S]:
        """Sessions not heard of for their timeout, oldest deadline first; each is told once."""
        self._judged = time = self.time(now_ms)
        due: list[S] = []
        heap = self._heap
        while heap and heap[0][0] <= time:
            scheduled, session_id = heapq.heappop(heap)
            session = self._sessions.get(session_id)
            if session is None or session.closing or session.scheduled != scheduled:
                continue
            deadline = session.touched + session.timeout_ms
            if deadline <= time:
                due.append(session)
            else:
                session.scheduled = deadline
                heapq.heappush(heap, (deadline, session_id))
        return due

    def next_deadline_ms(self) -> int | None:
        """No session expires before this instant of the monotonic clock; None if there is no session."""
        return self._heap[0][0] + self.shift if self._heap else None
