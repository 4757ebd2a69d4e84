"""Which Brokers a query goes to, by their service name (Druid's TieredBrokerHostSelector and its strategies).

The strategies are asked in order. Where none knows, the datasource's rules decide: the first that applies to the time
that is asked for names tiers, and the first tier of the map that is among them names the service. Over several
intervals the rule furthest down the list decides, that is the one for the oldest data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from druidroles.model.decode import ModelError, as_object, get_int, need_str, opt_str, whole_number
from druidroles.model.interval import Interval, interval_texts
from druidroles.model.server import DEFAULT_TIER
from druidroles.rules.rules import Rules

DEFAULT_SERVICE = "druid/broker"


@attrs.frozen
class Asked:
    """What of a query matters here."""

    kind: str
    data_source: str
    intervals: tuple[Interval, ...]
    priority: int
    broker_service: str | None

    @classmethod
    def read(cls, body: Any) -> Asked | None:
        """None where it is no query that can be understood; its Broker will say what is wrong with it."""
        try:
            obj = as_object(body, "query")
            context = as_object(obj.get("context") or {}, "context")
            source = obj.get("dataSource")
            name = need_str(as_object(source, "dataSource"), "name") if isinstance(source, dict) else source
            return cls(
                need_str(obj, "queryType"),
                name if isinstance(name, str) else "",
                tuple(_intervals(obj.get("intervals"))),
                _priority(context),
                opt_str(context, "brokerService"),
            )
        except ModelError:
            return None


def _intervals(value: Any) -> list[Interval]:
    if isinstance(value, dict) and value.get("type") == "segments":
        segments = value.get("segments")
        value = [item.get("itvl") for item in segments if isinstance(item, dict)] if isinstance(segments, list) else []
    elif isinstance(value, dict):
        value = value.get("intervals")
    texts = interval_texts(value) if isinstance(value, str) else value if isinstance(value, list) else []
    return [Interval.parse(text) for text in texts if isinstance(text, str)]


def _priority(context: Mapping[str, Any]) -> int:
    """A number, or one as text, which Druid takes in a context."""
    value = context.get("priority")
    spelled = whole_number(value) if isinstance(value, str) else None
    return get_int(context, "priority", 0) if spelled is None else spelled


@attrs.frozen
class Tiers:
    """`druid.router.tierToBrokerMap`, in order, and `druid.router.defaultBrokerServiceName`."""

    services: Mapping[str, str] = attrs.field(factory=lambda: {DEFAULT_TIER: DEFAULT_SERVICE})
    default: str = DEFAULT_SERVICE

    @property
    def first(self) -> str:
        """The service of the first tier, the most important one by convention."""
        return next(iter(self.services.values()), self.default)

    @property
    def last(self) -> str:
        """That of the last."""
        return next(reversed(list(self.services.values())), self.default)


class Strategy(Protocol):
    """One way to choose."""

    def choose(self, asked: Asked, tiers: Tiers) -> str | None:
        """The service, or None where this strategy has no opinion."""
        ...


@attrs.frozen
class TimeBoundary:
    """Queries for the bounds of time are short: the first tier's Brokers."""

    def choose(self, asked: Asked, tiers: Tiers) -> str | None:
        """See Strategy."""
        return tiers.first if asked.kind == "timeBoundary" else None


@attrs.frozen
class Priority:
    """By the query's priority: below `least` the last tier's Brokers, above `most` the first one's."""

    least: int = 0
    most: int = 1

    def choose(self, asked: Asked, tiers: Tiers) -> str | None:
        """See Strategy."""
        if asked.priority < self.least:
            return tiers.last
        return tiers.first if asked.priority > self.most else None


@attrs.frozen
class Manual:
    """As the query's context says in `brokerService`, if that is a service of the map."""

    default: str | None = None

    def choose(self, asked: Asked, tiers: Tiers) -> str | None:
        """See Strategy."""
        known = {*tiers.services.values(), tiers.default}
        return next((name for name in (asked.broker_service, self.default) if name in known), None)


DEFAULT_STRATEGIES: tuple[Strategy, ...] = (TimeBoundary(), Priority())


def parse_strategies(value: Any) -> tuple[Strategy, ...]:
    """Read `druid.router.strategies`. Raises ModelError naming the one at fault."""
    if not isinstance(value, list):
        raise ModelError("the strategies are not an array")
    return tuple(_strategy(as_object(item, f"strategy {number}")) for number, item in enumerate(value))


def _strategy(obj: Mapping[str, Any]) -> Strategy:
    match kind := need_str(obj, "type"):
        case "timeBoundary":
            return TimeBoundary()
        case "priority":
            return Priority(get_int(obj, "minPriority", 0), get_int(obj, "maxPriority", 1))
        case "manual":
            return Manual(opt_str(obj, "defaultManualBrokerService"))
    raise ModelError(f"type {kind!r} is not a strategy; they are timeBoundary, priority, manual")


def choose_service(asked: Asked | None, tiers: Tiers, strategies: Sequence[Strategy], rules: Rules, now_ms: int) -> str:
    """The service name of the Brokers to ask."""
    if asked is None:
        return tiers.default
    for strategy in strategies:
        service = strategy.choose(asked, tiers)
        if service is not None:
            return service
    return _by_rules(asked, tiers, rules, now_ms) or tiers.default


def _by_rules(asked: Asked, tiers: Tiers, rules: Rules, now_ms: int) -> str | None:
    """By the rules; None where none applies, or it names no tier of the map."""
    listed = rules.rules_of(asked.data_source)
    applying = [
        next((number for number, rule in enumerate(listed) if rule.applies(interval, now_ms)), None)
        for interval in asked.intervals
    ]
    found = [number for number in applying if number is not None]
    if not found:
        return None
    wanted = listed[max(found)].verdict.replicas
    return next((service for tier, service in tiers.services.items() if tier in wanted), None)
