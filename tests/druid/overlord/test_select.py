"""Which worker a strategy picks, and when it rather waits."""

from __future__ import annotations

from typing import Any

import pytest

from druidroles.model.decode import ModelError
from druidroles.model.server import Worker
from druidroles.overlord.planning.select import Need, TaskLimits, WorkerLoad, choose, equal_distribution, fill_capacity
from druidroles.overlord.planning.worker_config import WorkerConfig


def load(host: str, free: int, used: int = 0, category: str = "c", version: str = "0") -> WorkerLoad:
    return WorkerLoad(Worker(host, capacity=free + used, category=category, version=version), used)


def need(data_source: str = "flights", kind: str = "index", required: int = 1) -> Need:
    return Need(type=kind, data_source=data_source, required=required, group="g")


def picked(strategy: dict[str, Any], loads: list[WorkerLoad], task: Need | None = None) -> str | None:
    config = WorkerConfig.parse({"type": "default", "selectStrategy": strategy})
    chosen = choose(loads, task or need(), config.strategy)
    return None if chosen is None else chosen.worker.host


def affinity(kind: str, strong: bool, **hosts: list[str]) -> dict[str, Any]:
    return {"type": kind, "affinityConfig": {"affinity": hosts, "strong": strong}}


def categories(kind: str, strong: bool, **by_type: Any) -> dict[str, Any]:
    return {"type": f"{kind}WithCategorySpec", "workerCategorySpec": {"strong": strong, "categoryMap": by_type}}


def test_orders() -> None:
    loads = [load("a", 1, 3), load("b", 4, 1), load("c", 4, 1), load("d", 0, 9)]
    assert picked({"type": "equalDistribution"}, loads) == "b"
    assert picked({"type": "fillCapacity"}, loads) == "a"
    assert picked({"type": "fillCapacity"}, loads, need(required=2)) == "b"
    assert picked({"type": "equalDistribution"}, [load("a", 5, version="")]) is None


@pytest.mark.parametrize("kind", ["equalDistribution", "equalDistributionWithAffinity"])
def test_affinity(kind: str) -> None:
    """A datasource's own workers first; others only where it is weak, and never those that are another's own."""
    loads = [load("a", 1), load("b", 2), load("c", 3)]
    for strong in (False, True):
        config = affinity(kind, strong, flights=["a"], trains=["c"])
        assert picked(config, loads) == "a"
        assert picked(config, loads, need("trains")) == "c"
        assert picked(config, loads, need("ships")) == "b"
    assert picked(affinity(kind, False, flights=["a"], trains=["c"]), [load("a", 0, 1), *loads[1:]]) == "b"
    assert picked(affinity(kind, True, flights=["a"], trains=["c"]), [load("a", 0, 1), *loads[1:]]) is None
    assert picked(affinity(kind, False, trains=["a", "b", "c"]), loads) is None


def test_categories() -> None:
    """By type and datasource, else the type's default; a type without an entry goes anywhere."""
    loads = [load("a", 1, category="small"), load("b", 2, category="big"), load("c", 3, category="other")]
    entry = {"defaultCategory": "small", "categoryAffinity": {"trains": "big"}}
    for strong in (False, True):
        config = categories("equalDistribution", strong, index=entry)
        assert picked(config, loads) == "a"
        assert picked(config, loads, need("trains")) == "b"
        assert picked(config, loads, need(kind="kill")) == "c"
    full = [load("a", 0, 1, category="small"), *loads[1:]]
    assert picked(categories("fillCapacity", True, index=entry), full) is None
    assert picked(categories("equalDistribution", False, index=entry), full) == "c"
    assert picked(categories("equalDistribution", True, index={}), loads) == "c"


def test_supervisors_leave_slots() -> None:
    """Of three slots at a third they may have one, and one also where a third is less than one."""
    parallel = need(kind="index_parallel")
    worker = load("a", 3)
    assert choose([worker], parallel, equal_distribution, 0.34) is not None
    taken = worker.with_task(parallel)
    assert choose([taken], Need(type="index_parallel", group="h"), equal_distribution, 0.34) is None
    assert choose([taken], Need(type="index", group="h"), equal_distribution, 0.34) is not None
    assert choose([load("a", 1)], parallel, fill_capacity, 0.1) is not None


def test_limits_by_type() -> None:
    """The smaller of number and ratio; other types are free."""
    limits = TaskLimits({"index": 2}, {"index": 0.5, "kill": 0.1})
    assert limits.allow(need(), 1, 10)
    assert not limits.allow(need(), 2, 10)
    assert not limits.allow(need(), 1, 2)
    assert limits.allow(need(kind="kill"), 0, 3)
    assert not limits.allow(need(kind="kill"), 1, 3)
    assert limits.allow(need(kind="noop"), 99, 3)


@pytest.mark.parametrize(
    ("strategy", "named"),
    [
        ({}, "selectStrategy.type"),
        ({"type": "javascript"}, "selectStrategy.type 'javascript'"),
        ({"type": "equalDistribution", "affinityConfig": {}}, "affinityConfig.affinity"),
        ({"type": "equalDistribution", "affinityConfig": {"affinity": {"x": "a:1"}}}, "affinity.x"),
        (categories("fillCapacity", False, index=3), "categoryMap.index"),
        (categories("fillCapacity", False, index={"categoryAffinity": {"x": 1}}), "x is not a string"),
        ({"type": "fillCapacity", "taskLimits": {"maxSlotCountByType": {"index": -1}}}, "maxSlotCountByType.index"),
        ({"type": "fillCapacity", "taskLimits": {"maxSlotRatioByType": {"index": 2}}}, "maxSlotRatioByType.index"),
    ],
)
def test_a_bad_configuration_names_the_field(strategy: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named.replace(".", r"\.")):
        WorkerConfig.parse({"selectStrategy": strategy})


def test_other_fields_of_a_configuration() -> None:
    """No strategy is the default one; an autoscaler is refused unless it does nothing."""
    assert WorkerConfig.parse({"type": "default", "autoScaler": {"type": "noop"}}).strategy is equal_distribution
    for bad, named in (({"type": "odd"}, "odd"), ({"autoScaler": {"type": "ec2"}}, "ec2"), ([], "not an object")):
        with pytest.raises(ModelError, match=named):
            WorkerConfig.parse(bad)
