"""Which rule applies to which segment, what it asks for, and until when: Druid's cases, and properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from druidroles.model.decode import ModelError
from druidroles.model.interval import Interval
from druidroles.model.iso import parse_iso
from druidroles.model.period import Period
from druidroles.model.segment import DataSegment
from druidroles.rules.edges import Edge
from druidroles.rules.rule import RULE_TYPES, Rule
from druidroles.rules.rules import Rules
from druidroles.rules.verdict import Verdict

NOW_MS = parse_iso("2013-06-15T12:00:00Z")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def segment(interval: str, data_source: str = "wiki") -> DataSegment:
    return DataSegment(data_source, Interval.parse(interval), "v1")


def applies(rule: dict[str, Any], interval: str) -> bool:
    return Rule.parse(rule).applies(Interval.parse(interval), NOW_MS)


SPAN = "2013-06-01/2013-06-10"
INSIDE, ACROSS, BEFORE = "2013-06-02/2013-06-03", "2013-05-31/2013-06-02", "2013-05-01/2013-06-01"


@pytest.mark.parametrize("kind", ["load", "broadcast"])
def test_load_and_broadcast_rules_apply_to_what_overlaps_and_drop_rules_to_what_lies_inside(kind: str) -> None:
    by_interval = {"type": f"{kind}ByInterval", "interval": SPAN}
    by_drop = {"type": "dropByInterval", "interval": SPAN}
    assert [applies(by_interval, i) for i in (INSIDE, ACROSS, BEFORE)] == [True, True, False]
    assert [applies(by_drop, i) for i in (INSIDE, ACROSS, BEFORE)] == [True, False, False]


# The period is from the 5th of June, 12:00, to now; the last two lie across now and after it.
ACROSS_START, AT_START, ACROSS_NOW, FUTURE = (
    "2013-06-05/2013-06-06",
    "2013-06-05T12/2013-06-06",
    "2013-06-15/2013-06-16",
    "2013-06-20/2013-06-21",
)
OLD = "2013-06-01/2013-06-05T12"


@pytest.mark.parametrize(
    ("kind", "future", "expected"),
    [
        ("loadByPeriod", True, [False, True, True, True, True]),
        ("loadByPeriod", False, [False, True, True, True, False]),
        ("broadcastByPeriod", None, [False, True, True, True, True]),
        ("dropByPeriod", True, [False, False, True, True, True]),
        ("dropByPeriod", False, [False, False, True, False, False]),
        ("dropBeforeByPeriod", None, [True, False, False, False, False]),
    ],
)
def test_rules_by_period(kind: str, future: bool | None, expected: list[bool]) -> None:
    rule = {"type": kind, "period": "P10D"} | ({} if future is None else {"includeFuture": future})
    assert [applies(rule, i) for i in (OLD, ACROSS_START, AT_START, ACROSS_NOW, FUTURE)] == expected


def test_the_first_rule_that_applies_decides_the_datasources_own_before_the_default_ones() -> None:
    rules = Rules(
        {
            "wiki": [
                {"type": "dropByInterval", "interval": SPAN},
                {"type": "loadForever", "tieredReplicants": {"hot": 1}},
            ],
            "_default": [{"type": "dropForever"}],
        }
    )
    assert rules.verdict(segment(INSIDE), NOW_MS) == Verdict(drop=True)
    assert rules.verdict(segment(ACROSS), NOW_MS) == Verdict({"hot": 1})
    assert rules.verdict(segment(ACROSS, "other"), NOW_MS) == Verdict(drop=True)


def test_without_stored_rules_two_copies_in_the_default_tier() -> None:
    assert Rules({}).verdict(segment(INSIDE), NOW_MS) == Verdict({"_default_tier": 2})


def test_null_replicants_mean_the_default_tier_unless_told_otherwise() -> None:
    assert Rule.parse({"type": "loadForever"}).verdict.replicas == {"_default_tier": 2}
    assert Rule.parse({"type": "loadForever", "useDefaultTierForNull": False}).verdict.replicas == {}


def test_no_rule_applies() -> None:
    rules = Rules({"_default": [{"type": "loadByInterval", "interval": SPAN}]})
    assert rules.verdict(segment(BEFORE), NOW_MS) is None


def test_a_verdict_tells_when_it_may_change() -> None:
    rules = Rules({"_default": [{"type": "loadByPeriod", "period": "P10D"}, {"type": "dropForever"}]})
    verdict = rules.verdict(segment(AT_START), NOW_MS)
    assert verdict is not None
    assert verdict.until_ms == parse_iso("2013-06-16")
    after = rules.verdict(segment(AT_START), verdict.until_ms)
    assert after is not None
    assert after.drop
    assert after.until_ms is None


def test_rules_that_cannot_be_read_leave_their_datasource_alone() -> None:
    rules = Rules({"wiki": [{"type": "loadFOREVER"}], "_default": [{"type": "dropForever"}]})
    assert rules.verdict(segment(INSIDE), NOW_MS) is None
    assert "loadFOREVER" in rules.faults["wiki"]
    assert rules.verdict(segment(INSIDE, "other"), NOW_MS) == Verdict(drop=True)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("loadForever", "rule"),
        ({}, "type"),
        ({"type": "loadBeforeByPeriod", "period": "P1D"}, "loadBeforeByPeriod"),
        ({"type": "loadByInterval"}, "interval"),
        ({"type": "loadByInterval", "interval": "tomorrow"}, "interval"),
        ({"type": "dropByPeriod", "period": "1D"}, "period"),
        ({"type": "loadByPeriod", "period": "P1D", "includeFuture": "yes"}, "includeFuture"),
        ({"type": "loadForever", "tieredReplicants": [1]}, "tieredReplicants"),
        ({"type": "loadForever", "tieredReplicants": {"hot": -1}}, "tieredReplicants: hot"),
        ({"type": "loadForever", "tieredReplicants": {"hot": True}}, "tieredReplicants: hot"),
    ],
)
def test_a_bad_rule_is_refused_naming_the_field(rule: Any, field: str) -> None:
    with pytest.raises(ModelError, match=field):
        Rule.parse(rule)


periods = st.builds(
    lambda months, days, hours: Period(months, days, hours * HOUR_MS),
    st.integers(0, 14),
    st.integers(0, 40),
    st.integers(0, 30),
)
instants = st.integers(NOW_MS - 800 * DAY_MS, NOW_MS + 800 * DAY_MS)


@given(at_ms=instants, period=periods, near_ms=st.integers(-8 * 24, 8 * 24), part=st.floats(0, 1))
def test_an_edge_is_not_crossed_before_it_says(at_ms: int, period: Period, near_ms: int, part: float) -> None:
    edge = Edge(at_ms, period)
    now_ms = period.add_to(at_ms) + near_ms * HOUR_MS
    next_ms = edge.next_crossing_ms(now_ms)
    assert next_ms is None or next_ms > now_ms
    last_ms = (next_ms - 1) if next_ms is not None else now_ms + 800 * DAY_MS
    for later_ms in (last_ms, now_ms + round((last_ms - now_ms) * part)):
        assert edge.reached(later_ms) == edge.reached(now_ms)


rules_by_period = st.builds(
    lambda kind, months, days, future: Rule.parse(
        {"type": kind, "period": f"P{months}M{days}D", "includeFuture": future}
    ),
    st.sampled_from([kind for kind in RULE_TYPES if kind.endswith("ByPeriod")]),
    st.integers(0, 3),
    st.integers(1, 31),
    st.booleans(),
)


@given(
    rule=rules_by_period,
    start_ms=instants,
    length_ms=st.integers(1, 40 * DAY_MS),
    now_ms=instants,
    part=st.floats(0, 1),
)
def test_a_rule_applies_or_not_until_the_instant_it_tells(
    rule: Rule, start_ms: int, length_ms: int, now_ms: int, part: float
) -> None:
    interval = Interval(start_ms, start_ms + length_ms)
    next_ms = rule.next_change_ms(interval, now_ms)
    last_ms = (next_ms - 1) if next_ms is not None else now_ms + 1000 * DAY_MS
    for later_ms in (last_ms, now_ms + round((last_ms - now_ms) * part)):
        assert rule.applies(interval, later_ms) == rule.applies(interval, now_ms)
