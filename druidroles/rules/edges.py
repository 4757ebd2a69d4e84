"""When the passing of time changes whether a rule applies.

Every rule that looks at the clock compares `now`, or `now - period`, with an edge of the segment's interval. Each such
comparison is an `Edge`; a rule is a combination of them, and its verdict can change only where one of its edges is
crossed. With that the Coordinator sleeps until then, instead of asking all rules about all segments all the time.

Months make `now - period` jump: a month before the 29th, 30th and 31st of March is the 28th of February. So around its
crossing such an edge may be crossed to and fro, at midnight or at the edge's own time of day.
"""

from __future__ import annotations

import attrs

from druidroles.model.iso import MS_PER_DAY
from druidroles.model.period import Period

# The longest and the shortest month differ by three days; a day more for what the other fields of a period add.
_JUMPS_MS = 4 * MS_PER_DAY


@attrs.frozen
class Edge:
    """The comparison `now - period >= at_ms` (without a period: `now >= at_ms`)."""

    at_ms: int
    period: Period | None = None

    def reached(self, now_ms: int) -> bool:
        """Whether it holds."""
        return (now_ms if self.period is None else self.period.add_to(now_ms, -1)) >= self.at_ms

    def next_crossing_ms(self, now_ms: int) -> int | None:
        """An instant after `now_ms` before which it does not change; None if it never will."""
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
        return now_ms + min(_until(now_ms, 0), _until(now_ms, of_day_ms))


def _until(now_ms: int, of_day_ms: int) -> int:
    """How long it is until the clock next shows this time of day; a whole day if it shows it now."""
    return (of_day_ms - now_ms - 1) % MS_PER_DAY + 1
