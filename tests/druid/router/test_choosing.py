"""Which Brokers a query goes to."""

from __future__ import annotations

from typing import Any

import pytest

from druidroles.model.decode import ModelError
from druidroles.model.iso import parse_iso
from druidroles.router.broker_strategies import (
    DEFAULT_STRATEGIES,
    Asked,
    Manual,
    Strategy,
    Tiers,
    choose_service,
    parse_strategies,
)
from druidroles.rules.rules import Rules

TIERS = Tiers({"hot": "b/hot", "_default_tier": "b/default", "cold": "b/cold"}, "b/default")
NOW_MS = parse_iso("2024-06-01T00:00:00.000Z")
RULES = Rules(
    {
        "d": [
            {"type": "loadByPeriod", "period": "P1M", "tieredReplicants": {"cold": 1, "hot": 2}},
            {"type": "loadByInterval", "interval": "2020/2021", "tieredReplicants": {"elsewhere": 1}},
            {"type": "dropByInterval", "interval": "2010/2011"},
            {"type": "loadForever", "tieredReplicants": {"cold": 1}},
        ]
    }
)


def chosen(body: Any, strategies: tuple[Strategy, ...] = DEFAULT_STRATEGIES) -> str:
    return choose_service(Asked.read(body), TIERS, strategies, RULES, NOW_MS)


def query(*intervals: str, **context: Any) -> dict[str, Any]:
    return {"queryType": "timeseries", "dataSource": "d", "intervals": list(intervals), "context": context}


@pytest.mark.parametrize(
    ("body", "service"),
    [
        (query("2024-05-20/2024-05-21"), "b/hot"),  # the first tier of the map that the rule names
        (query("2023-01-01/2023-02-01"), "b/cold"),
        (query("2024-05-20/2024-05-21", "2023-01-01/2023-02-01"), "b/cold"),  # the oldest decides
        (query("2020-02-01/2020-03-01"), "b/default"),  # a tier that no Broker is for
        (query("2010-02-01/2010-03-01"), "b/default"),  # dropped
        (query(), "b/default"),
        ({**query("2023-01-01/2023-02-01"), "dataSource": "other"}, "b/default"),  # the default rules
        ({**query("2023-01-01/2023-02-01"), "dataSource": {"type": "table", "name": "d"}}, "b/cold"),
        ({**query(), "intervals": {"type": "intervals", "intervals": ["2023-01-01/2023-02-01"]}}, "b/cold"),
        ({**query(), "intervals": "2023-01-01/2023-02-01,"}, "b/cold"),
        ({**query(), "intervals": "2024-05-20/2024-05-21,2023-01-01/2023-02-01"}, "b/cold"),
        ({**query(), "intervals": {"type": "LegacySegmentSpec", "intervals": ["2023-01-01/2023-02-01"]}}, "b/cold"),
        (
            {**query(), "intervals": {"type": "segments", "segments": [{"itvl": "2023-01-01/2023-02-01", "ver": "v"}]}},
            "b/cold",
        ),
        (query("2023-01-01/2023-02-01", priority="2"), "b/hot"),
        ({"queryType": "timeBoundary", "dataSource": "d"}, "b/hot"),
        (query("2024-05-20/2024-05-21", priority=-1), "b/cold"),
        (query("2023-01-01/2023-02-01", priority=2), "b/hot"),
        (query("2023-01-01/2023-02-01", priority=1), "b/cold"),
        (query("2023-01-01/2023-02-01", brokerService="b/hot"), "b/cold"),  # manual is none of the strategies
        (query("yesterday"), "b/default"),
        ({"queryType": 5}, "b/default"),
        ([], "b/default"),
    ],
)
def test_the_service(body: Any, service: str) -> None:
    assert chosen(body) == service


def test_manual_takes_known_services_only() -> None:
    strategies = parse_strategies([{"type": "manual", "defaultManualBrokerService": "b/cold"}])
    body = query("2024-05-20/2024-05-21", brokerService="b/hot")
    assert chosen(body, strategies) == "b/hot"
    assert chosen(query("2024-05-20/2024-05-21", brokerService="b/unknown"), strategies) == "b/cold"
    assert chosen(body, (Manual(),)) == "b/hot"
    assert chosen(query("2023-01-01/2023-02-01"), (Manual("b/unknown"),)) == "b/cold"  # and on to the rules


def test_strategies_are_read_as_druid_writes_them() -> None:
    assert parse_strategies([{"type": "timeBoundary"}, {"type": "priority"}]) == DEFAULT_STRATEGIES
    narrow = parse_strategies([{"type": "priority", "minPriority": 5, "maxPriority": 7}])
    assert chosen(query("2024-05-20/2024-05-21", priority=4), narrow) == "b/cold"
    for bad in ({}, [{}], [{"type": "javascript"}], [{"type": "priority", "minPriority": "x"}]):
        with pytest.raises(ModelError):
            parse_strategies(bad)
