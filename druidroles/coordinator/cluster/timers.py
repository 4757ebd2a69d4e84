"""Instants at which a segment must be looked at again: a grace ends, a pause is over, a period rule moves on."""

from __future__ import annotations

import heapq


class Timers:
    """Segment ids by due time in milliseconds. One instant a segment: of several the earliest is kept.

    Once it is due the segment is planned again, and what still must wait sets the next one.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._due_ms: dict[str, int] = {}

    def wake(self, segment_id: str, at_ms: int) -> None:
        """Look at the segment again at this instant, unless an earlier one is set."""
        set_ms = self._due_ms.get(segment_id)
        if set_ms is None or at_ms < set_ms:
            self._due_ms[segment_id] = at_ms
            heapq.heappush(self._heap, (at_ms, segment_id))

    def take_due(self, now_ms: int) -> list[str]:
        """The segments whose instant has come, each once; their instants are forgotten."""
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, segment_id = heapq.heappop(self._heap)
            if self._due_ms.get(segment_id) == at_ms:
                del self._due_ms[segment_id]
                due.append(segment_id)
        return due

    def next_ms(self) -> int | None:
        """The next instant, None if there is none."""
        while self._heap and self._due_ms.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # replaced by an earlier one that has fired
        return self._heap[0][0] if self._heap else None
