"""The instants at which a rule starts or ceases to apply to a segment.

Every rule that depends on time compares `now`, or `now - period`, with one end of the segment's interval. An `Edge` is
one such comparison. A rule combines its edges, so its verdict can change only when `now` crosses one of them. The
Coordinator sleeps until the next crossing instead of evaluating all rules for all segments all the time.

Months make `now - period` jump: one month before the 29th, 30th and 31st of March is the 28th of February. Near its
crossing such an edge may change several times, always at midnight or at the edge's own time of day.
"""

from __future__ import annotations

import attrs

from druidroles.model.iso import MS_PER_DAY
from druidroles.model.period import Period

# The longest and the shortest month differ by three days. A fourth day covers the other fields of a period.
_JUMPS_MS = 4 * MS_PER_DAY


@attrs.frozen
class Edge:
    """The comparison `now - period >= at_ms` (without a period: `now >= at_ms`)."""

    at_ms: int
    period: Period | None = None

    def reached(self, now_ms: int) -> bool:
        """Return whether the comparison is true at `now_ms`, in epoch milliseconds."""
        return (now_ms if self.period is None else self.period.add_to(now_ms, -1)) >= self.at_ms

    def next_crossing_ms(self, now_ms: int) -> int | None:
        """Return an instant after `now_ms` before which the comparison does not change, or None if it never changes.

        Near a crossing by months the instant may come before the change, and the caller asks again then.
        """
        if self.period is None:
            return self.at_ms if now_ms < self.at_ms else None
        crossing_ms = self.period.add_to(self.at_ms)
        if not self.period.months:
            return crossing_ms if now_ms < crossing_ms else None
        if now_ms < crossing_ms - _JUMPS_MS:
            return crossing_ms - _JUMPS_MS
        if now_ms > crossing_ms + _JUMPS_MS:
            return None
        of_day_ms = (self.at_ms + self.period.ms) % MS_PER_DAY
        return now_ms + min(_ms_until(now_ms, 0), _ms_until(now_ms, of_day_ms))


def _ms_until(now_ms: int, of_day_ms: int) -> int:
    """Return the milliseconds until the next instant with this time of day: a whole day if it is that time now."""
    return (of_day_ms - now_ms - 1) % MS_PER_DAY + 1
