"""Which server failed to load which segment, so that it is tried elsewhere and the same server only after a pause.

Druid's tree protocol has no failure channel, so its Coordinator asks a broken server for the same segment for ever.
Ours reads the cause from the request and keeps it here: it steers the choice of server and answers the operator's
question.
"""

from __future__ import annotations

import attrs

PAUSE_MS_MIN = 30_000
PAUSE_MS_MAX = 600_000
SEGMENTS_MAX = 100_000  # the oldest are forgotten; forgetting only means trying again sooner


@attrs.define
class Failure:
    """The last failure of one segment on one server."""

    cause: str
    count: int
    at_ms: int
    until_ms: int  # the server is not asked again for this segment before


class FailureMemory:
    """Failures by segment, then server."""

    def __init__(self) -> None:
        self._failures: dict[str, dict[str, Failure]] = {}

    def record(self, segment_id: str, server: str, cause: str, now_ms: int) -> Failure:
        """A load failed. The pause before the next try on this server doubles from 30 s to 10 min."""
        by_server = self._failures.pop(segment_id, {})
        before = by_server.get(server)
        count = before.count + 1 if before else 1
        pause_ms = min(PAUSE_MS_MIN << min(count - 1, 10), PAUSE_MS_MAX)
        failure = Failure(cause, count, now_ms, now_ms + pause_ms)
        by_server[server] = failure
        self._failures[segment_id] = by_server
        while len(self._failures) > SEGMENTS_MAX:
            del self._failures[next(iter(self._failures))]
        return failure

    def succeeded(self, segment_id: str, server: str) -> None:
        """The server serves the segment: whatever failed before is over."""
        by_server = self._failures.get(segment_id)
        if by_server is not None and by_server.pop(server, None) is not None and not by_server:
            del self._failures[segment_id]

    def forget_server(self, server: str) -> None:
        """The server went; if it comes back it starts anew."""
        for segment_id in [s for s, by_server in self._failures.items() if server in by_server]:
            self.succeeded(segment_id, server)

    def blocked_until(self, segment_id: str, server: str) -> int:
        """The instant in ms before which this server is not asked for this segment; 0 if it may be asked now."""
        by_server = self._failures.get(segment_id)
        failure = by_server.get(server) if by_server else None
        return failure.until_ms if failure else 0

    def of_segment(self, segment_id: str) -> dict[str, Failure]:
        """The failures of a segment by server, for the operator."""
        failures = self._failures.get(segment_id)
        return dict(failures) if failures else {}

    def __len__(self) -> int:
        return len(self._failures)
