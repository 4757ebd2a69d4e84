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
    int_of,
    need_object,
    need_str,
    only_keys,
    opt_str,
)
from druidroles.model.names import check_name
from druidroles.overlord.planning.select import (
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
    def parse_new(cls, value: Any) -> WorkerConfig:
        """Read one that is to be stored: with no key that nobody reads. Raises ModelError naming the field at fault."""
        config = cls.parse(value)
        _check_keys(value)
        return config

    @classmethod
    def parse(cls, value: Any) -> WorkerConfig:
        """Read a stored one, which another Druid may have written; raises ModelError naming the field at fault."""
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
        slots: dict[str, int] = {}
        for kind, count in counts.items():
            number = int_of(count)
            if number is None or number < 0:
                raise ModelError(f"maxSlotCountByType.{kind} is not a number of slots")
            slots[kind] = number
        for kind, ratio in ratios.items():
            if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio <= 1:
                raise ModelError(f"maxSlotRatioByType.{kind} is not a ratio above 0 and up to 1")
    return TaskLimits(slots, ratios)


def _check_keys(obj: Mapping[str, Any]) -> None:
    """See that nothing is asked for that `WorkerConfig.parse` does not read, and that hosts and datasources are names.

    `autoScaler` is read as a whole: only `noop` is taken, whatever else it holds.
    """
    only_keys(obj, ("type", "selectStrategy", "autoScaler"), "the worker configuration")
    strategy = get_object(obj, "selectStrategy") or {}
    kind = opt_str(strategy, "type") or ""
    preference = "workerCategorySpec" if kind.endswith(_WITH_CATEGORY) else "affinityConfig"
    only_keys(strategy, ("type", "taskLimits", preference), "selectStrategy")
    only_keys(
        get_object(strategy, "taskLimits") or {},
        ("maxSlotCountByType", "maxSlotRatioByType"),
        "selectStrategy.taskLimits",
    )
    spec = get_object(strategy, preference) or {}
    only_keys(
        spec, ("categoryMap" if kind.endswith(_WITH_CATEGORY) else "affinity", "strong"), f"selectStrategy.{preference}"
    )
    for name, entry in (get_object(spec, "categoryMap") or {}).items():
        where = f"selectStrategy.workerCategorySpec.categoryMap.{name}"
        only_keys(entry, ("defaultCategory", "categoryAffinity"), where)
        for data_source in get_object(entry, "categoryAffinity") or {}:
            check_name(data_source, f"{where}.categoryAffinity: the datasource")
    for data_source, hosts in (get_object(spec, "affinity") or {}).items():
        check_name(data_source, "selectStrategy.affinityConfig.affinity: the datasource")
        for host in hosts:
            check_name(host, f"selectStrategy.affinityConfig.affinity.{data_source}: the worker")
