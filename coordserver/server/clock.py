"""The two clocks: monotonic time rules sessions, wall time is stamped into records."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds, as ints."""

    def now_ms(self) -> int:
        """Monotonic; its zero means nothing."""

    def wall_ms(self) -> int:
        """Since 1970; may jump."""


class SystemClock:
    """The machine's."""

    def now_ms(self) -> int:
        """CLOCK_MONOTONIC, which goes on while the process is stopped."""
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns() // 1_000_000
