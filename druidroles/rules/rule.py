"""A rule: its verdict, and the segments to which it applies (Druid's Rule and its ten types).

Load and broadcast rules apply to segments that overlap the span of the rule. Drop rules apply only to segments that lie
completely within it, so that they never drop data outside of the span.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from druidroles.model.decode import ModelError, as_object, get_bool, get_object, int_of, need_str
from druidroles.model.interval import Interval
from druidroles.model.period import Period
from druidroles.model.server import DEFAULT_TIER
from druidroles.rules.edges import Edge
from druidroles.rules.verdict import Verdict

DEFAULT_REPLICANTS: Mapping[str, int] = {DEFAULT_TIER: 2}

_KINDS = ("load", "drop", "broadcast")
_SCOPES = ("Forever", "ByInterval", "ByPeriod", "BeforeByPeriod")
RULE_TYPES = tuple(kind + scope for kind in _KINDS for scope in _SCOPES if kind == "drop" or scope != "BeforeByPeriod")


def _keys(kind: str) -> frozenset[str]:
    keys = {"type"}
    if kind.endswith("ByInterval"):
        keys.add("interval")
    elif kind.endswith("ByPeriod"):
        keys |= {"period"} if kind == "dropBeforeByPeriod" else {"period", "includeFuture"}
    if kind.startswith("load"):
        keys |= {"tieredReplicants", "useDefaultTierForNull"}
    elif kind.startswith("broadcast"):
        keys.add("colocatedDataSources")  # of old releases, which no longer use it
    return frozenset(keys)


RULE_KEYS = {kind: _keys(kind) for kind in RULE_TYPES}


@attrs.frozen
class Rule:
    """A rule.

    `type` is Druid's name of its type. `interval` or `period` is its span; a rule of a "Forever" type has neither.
    """

    type: str
    verdict: Verdict
    interval: Interval | None = None
    period: Period | None = None
    include_future: bool = True

    @classmethod
    def parse(cls, value: Any) -> Rule:
        """Parse a rule from its JSON object. Raises ModelError, which names the invalid field."""
        obj = as_object(value, "rule")
        kind = need_str(obj, "type")
        if kind not in RULE_TYPES:
            raise ModelError(f"type {kind!r} is not a rule type; they are {', '.join(RULE_TYPES)}")
        interval = period = None
        include_future = True
        if kind.endswith("ByInterval"):
            interval = _parse_field("interval", Interval.parse, need_str(obj, "interval"))
        elif kind.endswith("ByPeriod"):
            period = _parse_field("period", Period.parse, need_str(obj, "period"))
            include_future = get_bool(obj, "includeFuture", True)
        return cls(kind, _parse_verdict(kind, obj), interval, period, include_future)

    def applies(self, interval: Interval, now_ms: int) -> bool:
        """Return whether the rule applies to a segment of this interval at `now_ms`, in epoch milliseconds."""
        if self.interval is not None:
            return self.interval.contains(interval) if self.verdict.drop else self.interval.overlaps(interval)
        return all(edge.reached(now_ms) is wanted for edge, wanted in self._edges(interval))

    def next_change_ms(self, interval: Interval, now_ms: int) -> int | None:
        """Return an instant before which `applies` does not change, or None if it never changes.

        Both instants are wall-clock time in epoch milliseconds.
        """
        crossings = (edge.next_crossing_ms(now_ms) for edge, _ in self._edges(interval))
        return min((at_ms for at_ms in crossings if at_ms is not None), default=None)

    def _edges(self, interval: Interval) -> list[tuple[Edge, bool]]:
        """Return the edges of a rule with a period, each with the value that it must have for the rule to apply.

        The span of such a rule is [now - period, now].
        """
        if self.period is None:
            return []
        if self.type == "dropBeforeByPeriod":
            return [(Edge(interval.end_ms, self.period), True)]
        if self.verdict.drop:
            edges = [(Edge(interval.start_ms + 1, self.period), False)]  # starts at now - period or later
            ends = (Edge(interval.end_ms), True)
        else:
            edges = [(Edge(interval.end_ms, self.period), False)]  # ends after now - period
            ends = (Edge(interval.start_ms + 1), True)
        return edges if self.include_future else [*edges, ends]


def _parse_field(name: str, read: Any, text: str) -> Any:
    try:
        return read(text)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _parse_verdict(kind: str, obj: Mapping[str, Any]) -> Verdict:
    if kind.startswith("drop"):
        return Verdict(drop=True)
    if kind.startswith("broadcast"):
        return Verdict(broadcast=True)
    return Verdict(_parse_replicants(obj))


def _parse_replicants(obj: Mapping[str, Any]) -> Mapping[str, int]:
    tiers = get_object(obj, "tieredReplicants")
    if tiers is None:
        return DEFAULT_REPLICANTS if get_bool(obj, "useDefaultTierForNull", True) else {}
    replicants: dict[str, int] = {}
    for tier, count in tiers.items():
        number = int_of(count)
        if number is None or number < 0:
            raise ModelError(f"tieredReplicants: {tier} is not a number of copies (0 or more)")
        replicants[tier] = number
    return replicants
