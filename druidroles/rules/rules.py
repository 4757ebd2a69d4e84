"""All rules of a cluster: for each datasource its own, then the default ones; the first that applies decides."""

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
# What holds where nobody has set default rules.
DEFAULT_RULES: list[dict[str, Any]] = [
    {"tieredReplicants": dict(DEFAULT_REPLICANTS), "useDefaultTierForNull": True, "type": "loadForever"}
]


def parse_rules(value: Any) -> tuple[Rule, ...]:
    """Read a list of rules. Raises ModelError naming the rule and the field at fault."""
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
    """The rules, from the JSON that the metadata store keeps by datasource; `faults` of what is no JSON of rules.

    A datasource whose rules cannot be read has no verdict at all, and `faults` says why: to go by the default rules
    instead could drop what its own rules keep.
    """

    def __init__(
        self, stored: Mapping[str, Sequence[Mapping[str, Any]]], faults: Mapping[str, str] | None = None
    ) -> None:
        self.faults: dict[str, str] = dict(faults or {})
        default = {} if DEFAULT in self.faults else {DEFAULT: DEFAULT_RULES}
        self.stored: dict[str, Any] = {**default, **stored}
        self._of: dict[str, tuple[Rule, ...]] = {}
        for data_source, value in self.stored.items():
            try:
                self._of[data_source] = parse_rules(value)
            except ModelError as error:
                self.faults[data_source] = str(error)

    @property
    def has_broadcast(self) -> bool:
        """Whether some rule puts segments on every server."""
        return any(rule.verdict.broadcast for rules in self._of.values() for rule in rules)

    def rules_of(self, data_source: str) -> tuple[Rule, ...]:
        """The rules to try for a datasource, in order; none where some of them cannot be read."""
        if data_source in self.faults or DEFAULT in self.faults:
            return ()
        return self._of.get(data_source, ()) + self._of[DEFAULT]

    def deciding(self, segment: DataSegment, wall_ms: int) -> tuple[str, int] | None:
        """Whose rules decide, the datasource's or `_default`, and the number of the one; None if none applies."""
        own = len(self._of.get(segment.data_source, ()))
        for index, rule in enumerate(self.rules_of(segment.data_source)):
            if rule.applies(segment.interval, wall_ms):
                return (segment.data_source, index) if index < own else (DEFAULT, index - own)
        return None

    def verdict(self, segment: DataSegment, wall_ms: int) -> Verdict | None:
        """What the first rule that applies asks for, and until when that holds; None if none applies."""
        until_ms: int | None = None
        for rule in self.rules_of(segment.data_source):
            change_ms = rule.next_change_ms(segment.interval, wall_ms)
            if change_ms is not None and (until_ms is None or change_ms < until_ms):
                until_ms = change_ms
            if rule.applies(segment.interval, wall_ms):
                return rule.verdict if until_ms is None else attrs.evolve(rule.verdict, until_ms=until_ms)
        return None
