"""Shard specs: which partition of its time chunk a segment is, and when a set of partitions is complete.

Only what concerns coordination is understood: the partition's number, and how many make the atomic core of the set. The
rest of the JSON is kept as it came, so that a type never seen before passes through unchanged; such a set counts as
complete.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import attrs

from druidroles.model.decode import ModelError, as_object, get_int, get_list, need_str, opt_str

# How each type spells the size of its core set. What is in neither table is complete as it is: none, linear,
# tombstone...
_CORE_KEYS = {
    "numbered": "partitions",
    "hashed": "partitions",
    "single": "numCorePartitions",
    "range": "numCorePartitions",
    "dim_value_set": "numCorePartitions",
}
_OVERWRITE = "numbered_overwrite"
_CHAINED = ("single", "range")  # have a start and an end; without a core (below 0) they are complete as a chain
_NUMBERED_KEYS = 3  # type, partitionNum, partitions


@attrs.frozen
class ShardSpec:
    """A shard spec. `core_partitions` is the size of the atomic core, 0 for none, None where the type has no such
    thing.
    """

    type: str
    partition_num: int = 0
    core_partitions: int | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Any) -> ShardSpec:
        """Read one. Null is `numbered`, 0 of 1, as in Druid. Raises ModelError where type or numbers are not such."""
        if value is None:
            return numbered(0, 1)
        obj = as_object(value, "shardSpec")
        if len(obj) == _NUMBERED_KEYS and obj.get("type") == "numbered":
            number, partitions = obj.get("partitionNum"), obj.get("partitions")
            if type(number) is int and type(partitions) is int and partitions >= 0:
                return numbered(number, partitions)
        kind = need_str(obj, "type")
        number = get_int(obj, "partitionId" if kind == _OVERWRITE else "partitionNum", 0)
        core_key = _CORE_KEYS.get(kind)
        core = None if core_key is None else get_int(obj, core_key, -1 if kind in _CHAINED else 0)
        if core is not None and core < 0 and kind not in _CHAINED:
            raise ModelError(f"{core_key} is negative")
        _check_bounds(kind, obj)
        known = {"type", "partitionNum", core_key}
        return cls(kind, number, core, {key: item for key, item in obj.items() if key not in known})

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it: type and partition first."""
        out: dict[str, Any] = {"type": self.type}
        if self.type not in ("none", _OVERWRITE):
            out["partitionNum"] = self.partition_num
        core_key = _CORE_KEYS.get(self.type)
        if core_key is not None:
            out[core_key] = self.core_partitions
        return {**out, **self.extra}


def _check_bounds(kind: str, obj: Mapping[str, Any]) -> None:
    """See that what `is_complete` looks at later is what the type promises; raises ModelError naming the field."""
    if kind == _OVERWRITE:
        get_int(obj, "atomicUpdateGroupSize", 1)
    elif kind == "single":
        opt_str(obj, "start")
        opt_str(obj, "end")
    elif kind == "range":
        for key in ("start", "end"):
            if not all(item is None or isinstance(item, str) for item in get_list(obj, key)):
                raise ModelError(f"{key} is not a list of strings")


@lru_cache(maxsize=1024)
def numbered(partition_num: int, core_partitions: int) -> ShardSpec:
    """Partition `partition_num` of a core of `core_partitions`; most segments share a few such specs."""
    return ShardSpec("numbered", partition_num, core_partitions)


def linear(partition_num: int) -> ShardSpec:
    """Partition `partition_num` of a set that is complete however many there are."""
    return ShardSpec("linear", partition_num)


NONE = ShardSpec("none")


def is_complete(specs: Collection[ShardSpec]) -> bool:
    """Whether these partitions of one time chunk and version may answer queries together.

    Sets with a core need every number from 0 up to its size (Druid's NumberedPartitionHolder); `single` and `range`
    of before cores existed (size below 0) need an unbroken chain from an open start to an open end. An empty set is
    not complete.
    """
    if not specs:
        return False
    first = next(iter(specs))
    if first.type == _OVERWRITE:
        size = get_int(first.extra, "atomicUpdateGroupSize", 1)
        return len({spec.partition_num for spec in specs}) >= size
    if first.core_partitions is None:
        return True
    cores = [spec.core_partitions for spec in specs if spec.core_partitions is not None]
    size = max(cores, default=0)
    if size < 0:
        return _chain_is_unbroken(specs)
    present = {spec.partition_num for spec in specs}
    return all(number in present for number in range(size))


def _chain_is_unbroken(specs: Collection[ShardSpec]) -> bool:
    links = {}
    for spec in specs:
        if spec.type == "single":
            links[opt_str(spec.extra, "start")] = opt_str(spec.extra, "end")
        elif spec.type == "range":
            links[_tuple(spec.extra.get("start"))] = _tuple(spec.extra.get("end"))
    at: Any = None
    for _ in range(len(links)):
        if at not in links:
            return False
        at = links[at]
        if at is None:
            return True
    return False


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
