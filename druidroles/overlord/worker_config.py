"""How tasks are spread over workers, as an operator sets it (Druid's WorkerBehaviorConfig, `worker.config`). Pure.

What is not supported is refused by name: a strategy that would silently be another one is worse than an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from druidroles.model.decode import (
    ModelError,
    as_object,
    get_bool,
    get_object,
    need_object,
    need_str,
    opt_str,
)
from druidroles.overlord.select import (
    Affinity,
    Categories,
    Category,
    Order,
    Strategy,
    TaskLimits,
    equal_distribution,
    most_free,
    most_used,
)

NAME = "worker.config"  # its row in druid_config

_ORDERS: Mapping[str, Order] = {"equalDistribution": most_free, "fillCapacity": most_used}
_WITH_AFFINITY = "WithAffinity"  # an older spelling of the same
_WITH_CATEGORY = "WithCategorySpec"
_AUTOSCALER_NONE = "noop"


@attrs.frozen
class WorkerConfig:
    """The configuration read, and its JSON as it was given."""

    strategy: Strategy = equal_distribution
    limits: TaskLimits = attrs.field(factory=TaskLimits)
    json: Mapping[str, Any] | None = None

    @classmethod
    def parse(cls, value: Any) -> WorkerConfig:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "the worker configuration")
        kind = opt_str(obj, "type") or "default"
        if kind != "default":
            raise ModelError(f"type {kind!r} is not supported; there is default")
        scaler = get_object(obj, "autoScaler")
        if scaler is not None and opt_str(scaler, "type") != _AUTOSCALER_NONE:
            raise ModelError(f"autoScaler.type {scaler.get('type')!r} is not supported; there is {_AUTOSCALER_NONE}")
        given = get_object(obj, "selectStrategy")
        if given is None:
            return cls(json=dict(obj))
        with _within("selectStrategy"):
            strategy, limits = _strategy(given), _limits(given)
        return cls(strategy, limits, dict(obj))


@contextmanager
def _within(path: str) -> Iterator[None]:
    try:
        yield
    except ModelError as fault:
        raise ModelError(f"{path}.{fault}") from None


def _strategy(obj: Mapping[str, Any]) -> Strategy:
    kind = need_str(obj, "type")
    base = kind.removesuffix(_WITH_AFFINITY).removesuffix(_WITH_CATEGORY)
    order = _ORDERS.get(base)
    if order is None:
        there_are = ", ".join([*_ORDERS, *(name + _WITH_CATEGORY for name in _ORDERS)])
        raise ModelError(f"type {kind!r} is not supported; there are {there_are}")
    if kind.endswith(_WITH_CATEGORY):
        given = get_object(obj, "workerCategorySpec")
        return Strategy(order, None if given is None else _categories(given))
    given = get_object(obj, "affinityConfig")
    return Strategy(order, None if given is None else _affinity(given))


def _affinity(obj: Mapping[str, Any]) -> Affinity:
    with _within("affinityConfig"):
        workers = {}
        for data_source, hosts in need_object(obj, "affinity").items():
            if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
                raise ModelError(f"affinity.{data_source} is not a list of host:port")
            workers[data_source] = frozenset(hosts)
        return Affinity(workers, get_bool(obj, "strong", False))


def _categories(obj: Mapping[str, Any]) -> Categories:
    with _within("workerCategorySpec"):
        by_type = {}
        for kind, value in (get_object(obj, "categoryMap") or {}).items():
            with _within(f"categoryMap.{kind}"):
                entry = as_object(value, "the entry")
                affinity = get_object(entry, "categoryAffinity") or {}
                by_type[kind] = Category(
                    opt_str(entry, "defaultCategory"), {name: need_str(affinity, name) for name in affinity}
                )
        return Categories(by_type, get_bool(obj, "strong", False))


def _limits(obj: Mapping[str, Any]) -> TaskLimits:
    given = get_object(obj, "taskLimits") or {}
    with _within("taskLimits"):
        counts = get_object(given, "maxSlotCountByType") or {}
        ratios = get_object(given, "maxSlotRatioByType") or {}
        for kind, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ModelError(f"maxSlotCountByType.{kind} is not a number of slots")
        for kind, ratio in ratios.items():
            if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio <= 1:
                raise ModelError(f"maxSlotRatioByType.{kind} is not a ratio above 0 and up to 1")
    return TaskLimits(counts, ratios)
