"""Whom a Broker likes, and what it sees."""

from __future__ import annotations

import random

import pytest

from druidroles.broker.server_health import ServerChoice
from druidroles.broker.tier_selector import Balancer, TierSelector, TierStrategy, Watched
from druidroles.model.server import DruidServerMetadata

SERVERS = {
    name: DruidServerMetadata(name, tier=tier, priority=priority)
    for name, tier, priority in (("low", "cold", -1), ("mid", "hot", 0), ("high", "cold", 5), ("top", "hot", 9))
}


def order(selector: TierSelector) -> list[str]:
    """All servers, each chosen when those before it were tried."""
    choice = ServerChoice(random.Random(1), tiers=selector)
    tried: list[str] = []
    while (name := choice.choose(SERVERS, SERVERS, 0, tried)) is not None:
        tried.append(name)
    return tried


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (TierSelector(), ["top", "high", "mid", "low"]),
        (TierSelector(strategy=TierStrategy.LOWEST_PRIORITY), ["low", "mid", "high", "top"]),
        (TierSelector(strategy=TierStrategy.CUSTOM, priorities=(5, -1)), ["high", "low", "top", "mid"]),
        (TierSelector(strategy=TierStrategy.PREFERRED, tier="cold"), ["high", "low", "top", "mid"]),
        (TierSelector(strategy=TierStrategy.PREFERRED, tier="hot", lowest_first=True), ["mid", "top", "low", "high"]),
    ],
)
def test_the_tier_selectors(selector: TierSelector, expected: list[str]) -> None:
    assert order(selector) == expected


def test_historicals_come_before_tasks_whatever_the_selector() -> None:
    servers = {**SERVERS, "task": DruidServerMetadata("task", type="indexer-executor", tier="hot", priority=-9)}
    for strategy in TierStrategy:
        choice = ServerChoice(tiers=TierSelector(strategy=strategy, priorities=(-9,), tier="hot", lowest_first=True))
        assert choice.choose(["task", "high"], servers, 0) == "high"


def test_random_does_not_mind_what_is_under_way() -> None:
    servers = {name: DruidServerMetadata(name) for name in ("a", "b")}
    choice = ServerChoice(random.Random(1), balancer=Balancer.RANDOM)
    choice.sent("a", 1000)
    assert {choice.choose(servers, servers, 0) for _ in range(50)} == {"a", "b"}
    counting = ServerChoice(random.Random(1))
    counting.sent("a", 1000)
    assert {counting.choose(servers, servers, 0) for _ in range(50)} == {"b"}


def test_what_is_watched() -> None:
    hot, cold = DruidServerMetadata("h", tier="hot"), DruidServerMetadata("c", tier="cold")
    task = DruidServerMetadata("t", type="indexer-executor", tier="any")
    broker = DruidServerMetadata("b", type="broker")
    everything = Watched()
    assert [everything.server(one) for one in (hot, cold, task, broker, None)] == [True, True, True, False, False]
    assert [Watched(tiers=frozenset({"hot"})).server(one) for one in (hot, cold, task)] == [True, False, True]
    assert [Watched(ignored_tiers=frozenset({"hot"})).server(one) for one in (hot, cold)] == [False, True]
    assert not Watched(tasks=False).server(task)
    assert Watched(data_sources=frozenset({"a"})).data_source("a")
    assert not Watched(data_sources=frozenset({"a"})).data_source("b")
