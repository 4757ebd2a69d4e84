"""In which order a Broker likes servers: Druid's tier selectors (`druid.broker.select.tier`) as keys to sort by.

Historicals always come before tasks, as in Druid; a key orders those of one kind.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import attrs

from druidroles.model.server import DruidServerMetadata

Key = tuple[int, ...]


class TierStrategy(Enum):
    """`druid.broker.select.tier`."""

    HIGHEST_PRIORITY = "highestPriority"
    LOWEST_PRIORITY = "lowestPriority"
    CUSTOM = "custom"
    PREFERRED = "preferred"


class Balancer(Enum):
    """`druid.broker.balancer.type`: which of the servers that are liked as much."""

    RANDOM = "random"
    CONNECTION_COUNT = "connectionCount"


@attrs.frozen(kw_only=True)
class TierSelector:
    """A strategy and what it needs: `priorities` for custom, best first; `tier` and `lowest_first` for preferred."""

    strategy: TierStrategy = TierStrategy.HIGHEST_PRIORITY
    priorities: tuple[int, ...] = ()
    tier: str = ""
    lowest_first: bool = False

    def key(self) -> Callable[[DruidServerMetadata], Key]:
        """The lesser is asked first."""
        match self.strategy:
            case TierStrategy.HIGHEST_PRIORITY:
                return lambda server: (-server.priority,)
            case TierStrategy.LOWEST_PRIORITY:
                return lambda server: (server.priority,)
            case TierStrategy.CUSTOM:
                ranks = {priority: rank for rank, priority in enumerate(self.priorities)}
                # What is not listed comes after what is, the highest first.
                return lambda server: (ranks.get(server.priority, len(ranks)), -server.priority)
            case TierStrategy.PREFERRED:
                sign = 1 if self.lowest_first else -1
                return lambda server: (int(server.tier != self.tier), sign * server.priority)


@attrs.frozen(kw_only=True)
class Watched:
    """Which of what is announced a Broker sees (`druid.broker.segment.*`); None is all. Not both kinds of tiers."""

    tiers: frozenset[str] | None = None
    ignored_tiers: frozenset[str] = frozenset()
    data_sources: frozenset[str] | None = None
    tasks: bool = True

    def server(self, server: DruidServerMetadata | None) -> bool:
        """Whether a server is one to ask."""
        if server is None or server.type == "broker":
            return False
        if not server.is_replication_target:
            return self.tasks
        return (self.tiers is None or server.tier in self.tiers) and server.tier not in self.ignored_tiers

    def describe(self) -> str:
        """The same text for the same things."""
        parts = (self.tiers, self.ignored_tiers, self.data_sources)
        return f"{[None if part is None else sorted(part) for part in parts]} {self.tasks}"

    def data_source(self, name: str) -> bool:
        """Whether a datasource is one to answer for."""
        return self.data_sources is None or name in self.data_sources
