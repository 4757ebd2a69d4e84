"""Which of the servers of a segment is asked (Druid's TierSelectorStrategy and ServerSelectorStrategy), and which not.

Historicals before tasks, then as the tier selector likes them, then the one with the fewest pieces under way, or any
that is liked as much.
Unlike Druid's, a server that failed is passed over for a moment, longer each time, as long as there is another.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from druidroles.broker.tier_selector import Balancer, Key, TierSelector
from druidroles.model.server import DruidServerMetadata

BACK_OFF_S = 1.0  # after the first failure; doubled by each further one
BACK_OFF_MAX_S = 5.0


class ServerChoice:
    """Health and load of the data servers, as this Broker sees them. `now` is any clock in seconds."""

    def __init__(
        self,
        chance: random.Random | None = None,
        *,
        tiers: TierSelector | None = None,
        balancer: Balancer = Balancer.CONNECTION_COUNT,
    ) -> None:
        self._liking = (tiers or TierSelector()).key()
        self._counts = balancer is Balancer.CONNECTION_COUNT
        self._chance = chance or random.Random()
        self._under_way: Counter[str] = Counter()
        self._failing: dict[str, tuple[float, float]] = {}  # when it may be asked again, and the back-off so far

    def choose(
        self, names: Iterable[str], servers: Mapping[str, DruidServerMetadata], now: float, but: Collection[str] = ()
    ) -> str | None:
        """The server to ask among `names`, those that are announced, and not in `but`; None if there is none."""
        candidates = [name for name in names if name in servers and name not in but]
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        return min(candidates, key=lambda name: self._rank(name, servers[name], now))

    def _rank(self, name: str, server: DruidServerMetadata, now: float) -> tuple[bool, bool, Key, int, float]:
        return (
            self.is_failing(name, now),
            not server.is_replication_target,
            self._liking(server),
            self._under_way[name] if self._counts else 0,
            self._chance.random(),
        )

    def is_failing(self, name: str, now: float) -> bool:
        """Whether a server is passed over at this moment."""
        return name in self._failing and now < self._failing[name][0]

    def sent(self, name: str, pieces: int = 1) -> None:
        """Pieces are under way to a server."""
        self._under_way[name] += pieces

    def done(self, name: str, pieces: int = 1) -> None:
        """They have been answered, or given up."""
        self._under_way[name] -= pieces
        if self._under_way[name] <= 0:
            del self._under_way[name]

    def failed(self, name: str, now: float) -> None:
        """A server did not answer as one that works."""
        last = self._failing.get(name)
        if last is not None and now < last[0]:
            return  # another request of the same moment
        back_off = BACK_OFF_S if last is None else min(BACK_OFF_MAX_S, 2 * last[1])
        self._failing[name] = (now + back_off, back_off)

    def worked(self, name: str) -> None:
        """A server answered, or announced itself anew."""
        self._failing.pop(name, None)
