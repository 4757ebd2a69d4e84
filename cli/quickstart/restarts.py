"""How often a process that dies is started again, and when no more. Pure."""

from __future__ import annotations

import attrs

DEATHS_MAX = 5  # within WINDOW_S; one more is one too many
WINDOW_S = 120.0
FIRST_DELAY_S = 1.0
DELAY_MAX_S = 30.0


@attrs.define
class Restarts:
    """The deaths of one process."""

    _deaths: list[float] = attrs.field(factory=list, init=False)

    def died(self, now: float) -> float | None:
        """It died: how long to wait until it is started again; None: it died too often."""
        self._deaths = [*(at for at in self._deaths if now - at < WINDOW_S), now]
        if len(self._deaths) > DEATHS_MAX:
            return None
        return float(min(FIRST_DELAY_S * 2 ** (len(self._deaths) - 1), DELAY_MAX_S))
