"""Which server is asked."""

from __future__ import annotations

import random

from druidroles.broker.server_health import BACK_OFF_S, ServerChoice
from druidroles.model.server import DruidServerMetadata

SERVERS = {
    "a": DruidServerMetadata("a"),
    "b": DruidServerMetadata("b"),
    "high": DruidServerMetadata("high", priority=9),
    "task": DruidServerMetadata("task", type="indexer-executor", priority=99),
}


def test_historicals_before_tasks_then_the_highest_priority() -> None:
    """As in Druid."""
    choice = ServerChoice(random.Random(1))
    assert choice.choose(["task", "a"], SERVERS, 0) == "a"
    assert choice.choose(["a", "high", "task"], SERVERS, 0) == "high"
    assert choice.choose(["task"], SERVERS, 0) == "task"


def test_only_announced_ones_that_were_not_tried() -> None:
    """None where there is none left."""
    choice = ServerChoice(random.Random(1))
    assert choice.choose(["a", "unknown"], SERVERS, 0) == "a"
    assert choice.choose(["a", "b"], SERVERS, 0, {"a"}) == "b"
    assert choice.choose(["a"], SERVERS, 0, {"a"}) is None


def test_work_is_spread() -> None:
    """The one with less under way; by chance where they are even."""
    choice = ServerChoice(random.Random(1))
    taken = []
    for _ in range(100):
        name = choice.choose(["a", "b"], SERVERS, 0)
        assert name is not None
        choice.sent(name)
        taken.append(name)
    assert taken.count("a") == 50
    choice.done("a", 50)
    assert choice.choose(["a", "b"], SERVERS, 0) == "a"


def test_a_failing_server_is_passed_over_for_a_moment_that_grows() -> None:
    """Even for one of lower priority; but it is asked where there is no other."""
    choice = ServerChoice(random.Random(1))
    choice.failed("high", 0)
    assert choice.choose(["a", "high"], SERVERS, BACK_OFF_S / 2) == "a"
    assert choice.choose(["high"], SERVERS, BACK_OFF_S / 2) == "high"
    assert choice.choose(["a", "high"], SERVERS, BACK_OFF_S) == "high"
    choice.failed("high", BACK_OFF_S)
    assert choice.is_failing("high", BACK_OFF_S * 2.5)
    choice.worked("high")
    assert not choice.is_failing("high", BACK_OFF_S * 2.5)
