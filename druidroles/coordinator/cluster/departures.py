"""Not copying data about because a server is being restarted.

When a server leaves, the segments it held have fewer copies than their rule wants. Those with no copy left are loaded
elsewhere at once; the others wait here. The wait is short after a crash (PT10S), longer after a server said that it was
stopping (it is probably being restarted), and long when a large part of a tier left together: then it is the network or
an operator, and copying everything onto the few that are left would do harm. If the server comes back, its segments
come back with it and nothing has moved.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen(kw_only=True)
class DepartureSettings:
    """All times in milliseconds."""

    grace_ms: int = 10_000  # after a server vanished (PT10S)
    stopping_grace_ms: int = 60_000  # after one that announced that it stops
    mass_grace_ms: int = 600_000  # after a large part of a tier
    mass_part: float = 1 / 3  # this part of a tier, and at least two servers, is a large part


@attrs.define
class Departure:
    """A server that left."""

    tier: str
    left_ms: int
    segment_ids: tuple[str, ...]


class Departures:
    """Until when further replicas of a segment must wait."""

    def __init__(self, config: DepartureSettings) -> None:
        self._config = config
        self._departures: dict[str, Departure] = {}
        self._held_until: dict[str, int] = {}
        self._mass_until: dict[str, int] = {}

    def left(
        self, server: str, tier: str, segment_ids: Iterable[str], now_ms: int, *, stopping: bool, remaining: int
    ) -> bool:
        """A server left; `remaining` servers are still in its tier. Returns True if this makes a mass departure."""
        self._forget_old(now_ms)
        self._departures[server] = Departure(tier, now_ms, tuple(segment_ids))
        window_ms = self._config.grace_ms
        gone = [d for d in self._departures.values() if d.tier == tier and now_ms - d.left_ms <= window_ms]
        mass = len(gone) >= 2 and len(gone) >= self._config.mass_part * (len(gone) + remaining)
        if mass:
            self._mass_until[tier] = now_ms + self._config.mass_grace_ms
            for departure in gone:
                self._hold(departure.segment_ids, departure.left_ms + self._config.mass_grace_ms)
        else:
            grace_ms = self._config.stopping_grace_ms if stopping else self._config.grace_ms
            self._hold(self._departures[server].segment_ids, now_ms + grace_ms)
        return mass

    def came(self, server: str, now_ms: int) -> tuple[str, ...]:
        """A server came. If it is one that had left, its segments wait only for its announcing them again.

        That is a grace from now at the longest; what is announced by then has not moved. Returns those segments.
        """
        departure = self._departures.pop(server, None)
        if departure is None:
            return ()
        for segment_id in departure.segment_ids:
            if segment_id in self._held_until:
                self._held_until[segment_id] = min(self._held_until[segment_id], now_ms + self._config.grace_ms)
        return departure.segment_ids

    def mass_until(self, tier: str, now_ms: int) -> int:
        """Until when a tier that lost a large part counts as disturbed; 0 if it does not."""
        until = self._mass_until.get(tier, 0)
        return until if until > now_ms else 0

    def held_until(self, segment_id: str, now_ms: int) -> int:
        """The instant before which further replicas of the segment must not be ordered; 0 if they may be."""
        until = self._held_until.get(segment_id, 0)
        if until and until <= now_ms:
            del self._held_until[segment_id]
            return 0
        return until

    def _hold(self, segment_ids: Iterable[str], until_ms: int) -> None:
        for segment_id in segment_ids:
            if self._held_until.get(segment_id, 0) < until_ms:
                self._held_until[segment_id] = until_ms

    def _forget_old(self, now_ms: int) -> None:
        longest = max(self._config.grace_ms, self._config.stopping_grace_ms, self._config.mass_grace_ms)
        for name in [n for n, d in self._departures.items() if now_ms - d.left_ms > longest]:
            del self._departures[name]
