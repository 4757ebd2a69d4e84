"""The dynamic configuration of the Coordinator (Druid's CoordinatorDynamicConfig): keys, defaults, and what they limit.

It is stored as JSON in `druid_config` under `coordinator.config`, read with every snapshot of the metadata store, and
effective at once. Where Druid limits a run, what is in flight is limited here. As in Druid, `smartSegmentLoading`
decides some of the values by the size of the cluster, whatever the configuration says of them.

Keys of other releases of Druid that mean nothing here are accepted and forgotten. Those that would mean something are
accepted only as long as they ask for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from druidroles.coordinator.planning.state import PlanningLimits
from druidroles.model.decode import ModelError, as_object, bool_of, int_of

CONFIG_NAME = "coordinator.config"
INT_MAX = 2**31 - 1

_FORGOTTEN = frozenset(
    {
        "mergeBytesLimit",
        "mergeSegmentsLimit",
        "emitBalancingStats",
        "killAllDataSources",
        "killPendingSegmentsSkipList",
        "killDataSourceSkipList",
        "percentOfSegmentsToConsiderPerMove",
        "useBatchedSegmentSampler",
        "maxNonPrimaryReplicantsToLoad",
        "decommissioningMaxPercentOfMaxSegmentsToMove",
        "debugDimensions",
    }
)
_NOT_HERE = frozenset({"turboLoadingNodes", "cloneServers", "historicalTierAliases"})


def _count(least: int, most: int = INT_MAX) -> Callable[[str, Any], int]:
    def read(key: str, value: Any) -> int:
        number = int_of(value)
        if number is None or not least <= number <= most:
            raise ModelError(f"{key} is not an integer from {least} to {most}")
        return number

    return read


def _flag(key: str, value: Any) -> bool:
    flag = bool_of(value)
    if flag is None:
        raise ModelError(f"{key} is not true or false")
    return flag


def _ratio(key: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ModelError(f"{key} is not a number from 0 to 1")
    return value


def _names(key: str, value: Any) -> tuple[str, ...]:
    """An array of names, or as in Druid one string with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ModelError(f"{key} is not an array of strings")
    return tuple(sorted({item.strip() for item in items if item.strip()}))


def _key(name: str, default: Any, read: Callable[[str, Any], Any]) -> Any:
    return attrs.field(default=default, metadata={"key": name, "read": read})


@attrs.frozen(kw_only=True)
class DynamicConfig:
    """One configuration. Times in milliseconds, where Druid has them so."""

    millis_to_wait_before_deleting: int = _key("millisToWaitBeforeDeleting", 900_000, _count(0, 2**63 - 1))
    max_segments_to_move: int = _key("maxSegmentsToMove", 100, _count(0))
    replicant_lifetime: int = _key("replicantLifetime", 15, _count(0))
    replication_throttle_limit: int = _key("replicationThrottleLimit", 500, _count(0))
    balancer_compute_threads: int = _key("balancerComputeThreads", 1, _count(1))
    kill_data_sources: tuple[str, ...] = _key("killDataSourceWhitelist", (), _names)
    kill_task_slot_ratio: float = _key("killTaskSlotRatio", 0.1, _ratio)
    max_kill_task_slots: int = _key("maxKillTaskSlots", INT_MAX, _count(0))
    max_segments_in_node_loading_queue: int = _key("maxSegmentsInNodeLoadingQueue", 500, _count(0))
    decommissioning_nodes: tuple[str, ...] = _key("decommissioningNodes", (), _names)
    pause_coordination: bool = _key("pauseCoordination", False, _flag)
    replicate_after_load_timeout: bool = _key("replicateAfterLoadTimeout", False, _flag)
    use_round_robin_segment_assignment: bool = _key("useRoundRobinSegmentAssignment", True, _flag)
    smart_segment_loading: bool = _key("smartSegmentLoading", True, _flag)

    @classmethod
    def parse(cls, value: Any, base: DynamicConfig | None = None) -> DynamicConfig:
        """Read one; what it leaves out is as in `base`. Raises ModelError naming the key at fault."""
        obj = as_object(value, "the configuration")
        fields = {field.metadata["key"]: field for field in attrs.fields(cls)}
        changed: dict[str, Any] = {}
        for key, item in obj.items():
            if item is None or key in _FORGOTTEN:
                continue
            if key in _NOT_HERE:
                if item:
                    raise ModelError(f"{key} is not supported")
                continue
            if key not in fields:
                raise ModelError(f"{key} is not a key of the dynamic configuration")
            changed[fields[key].name] = fields[key].metadata["read"](key, item)
        return attrs.evolve(base or cls(), **changed)

    def to_json(self) -> dict[str, Any]:
        """All keys, as Druid spells them."""
        values = {field.metadata["key"]: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def limits(self, used_segments: int, load_timeout_ms: int) -> PlanningLimits:
        """What is limited, in a cluster of so many used segments."""
        smart = self.smart_segment_loading
        return PlanningLimits(
            replicas_in_flight=max(used_segments // 20, 100) if smart else self.replication_throttle_limit,
            moves_in_flight=min(max(used_segments // 50, 100), 1_000) if smart else self.max_segments_to_move,
            queue_length=0 if smart else self.max_segments_in_node_loading_queue,
            overshadowed_wait_ms=self.millis_to_wait_before_deleting,
            load_timeout_ms=load_timeout_ms,
            replicate_late=self.replicate_after_load_timeout,
        )

    @property
    def round_robin(self) -> bool:
        """Whether loads go round robin, and not by the balancer's strategy."""
        return self.smart_segment_loading or self.use_round_robin_segment_assignment


def read_stored(value: Mapping[str, Any] | None) -> DynamicConfig:
    """What the metadata store holds; the defaults where it holds nothing. Raises ModelError."""
    return DynamicConfig() if value is None else DynamicConfig.parse(value)
