"""All rules of a cluster.

A datasource has its own rules, followed by the default rules of the cluster. The first rule that applies decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from druidroles.model.decode import ModelError, only_keys
from druidroles.model.names import check_name
from druidroles.model.segment import DataSegment
from druidroles.rules.rule import DEFAULT_REPLICANTS, RULE_KEYS, Rule
from druidroles.rules.verdict import Verdict

DEFAULT = "_default"
# The default rules of a cluster in which no default rules were set.
DEFAULT_RULES: list[dict[str, Any]] = [
    {"tieredReplicants": dict(DEFAULT_REPLICANTS), "useDefaultTierForNull": True, "type": "loadForever"}
]


def parse_rules(value: Any) -> tuple[Rule, ...]:
    """Parse a JSON array of rules. Raises ModelError, which names the invalid rule and field."""
    if not isinstance(value, list):
        raise ModelError("rules are not an array")
    rules = []
    for index, item in enumerate(value):
        try:
            rules.append(Rule.parse(item))
        except ModelError as error:
            raise ModelError(f"rule {index}: {error}") from error
    return tuple(rules)


def check_rules(value: Any) -> None:
    """See that a list of rules may be stored: `parse_rules` reads it, it has no other key, its tiers can be names.

    Stored rules are judged less strictly, as another Druid may have written them. Raises ModelError.
    """
    for index, rule in enumerate(parse_rules(value)):
        only_keys(value[index], RULE_KEYS[rule.type], f"rule {index}")
        for tier in rule.verdict.replicas:
            check_name(tier, f"rule {index}: tieredReplicants: the tier")


class Rules:
    """The rules, parsed from the JSON that the metadata store has for each datasource. `faults` says for which
    datasources the JSON itself is unreadable, and why.

    If the rules of a datasource are invalid, none of its segments gets a verdict, and `faults` has the reason. The
    default rules do not replace them, because they might drop data that the datasource's own rules keep.
    """

    def __init__(
        self, stored: Mapping[str, Sequence[Mapping[str, Any]]], faults: Mapping[str, str] | None = None
    ) -> None:
        self.faults: dict[str, str] = dict(faults or {})
        default = {} if DEFAULT in self.faults else {DEFAULT: DEFAULT_RULES}
        self.stored: dict[str, Any] = {**default, **stored}
        self._by_data_source: dict[str, tuple[Rule, ...]] = {}
        for data_source, value in self.stored.items():
            try:
                self._by_data_source[data_source] = parse_rules(value)
            except ModelError as error:
                self.faults[data_source] = str(error)

    @property
    def has_broadcast(self) -> bool:
        """Whether at least one rule is a broadcast rule, which loads segments on every server."""
        return any(rule.verdict.broadcast for rules in self._by_data_source.values() for rule in rules)

    def rules_of(self, data_source: str) -> tuple[Rule, ...]:
        """Return the rules for a datasource in the order of their evaluation.

        The result is empty if its own rules or the default rules are invalid.
        """
        if data_source in self.faults or DEFAULT in self.faults:
            return ()
        return self._by_data_source.get(data_source, ()) + self._by_data_source[DEFAULT]

    def deciding(self, segment: DataSegment, wall_ms: int) -> tuple[str, int] | None:
        """Return the rule that decides at `wall_ms` as (name, index), or None if no rule applies.

        The name is that of the datasource or `_default`. The index is the position among the rules of that name.
        """
        own = len(self._by_data_source.get(segment.data_source, ()))
        for index, rule in enumerate(self.rules_of(segment.data_source)):
            if rule.applies(segment.interval, wall_ms):
                return (segment.data_source, index) if index < own else (DEFAULT, index - own)
        return None

    def verdict(self, segment: DataSegment, wall_ms: int) -> Verdict | None:
        """Return the verdict of the first rule that applies, or None if no rule applies.

        `until_ms` of the verdict is the instant before which it does not change. `wall_ms` is in epoch milliseconds.
        """
        until_ms: int | None = None
        for rule in self.rules_of(segment.data_source):
            change_ms = rule.next_change_ms(segment.interval, wall_ms)
            if change_ms is not None and (until_ms is None or change_ms < until_ms):
                until_ms = change_ms
            if rule.applies(segment.interval, wall_ms):
                return rule.verdict if until_ms is None else attrs.evolve(rule.verdict, until_ms=until_ms)
        return None
