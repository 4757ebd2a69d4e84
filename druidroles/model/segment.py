"""Segments: Druid's DataSegment, SegmentId and SegmentDescriptor (org.apache.druid.timeline, org.apache.druid.query).

In JSON the names of dimensions and metrics are one comma-joined string each. Equality is by id alone, as in Druid: a
broker's segment without its load spec is the same segment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import attrs

from druidroles.model.decode import ModelError, get_int, get_list, get_object, need_int, need_str
from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso, parse_iso
from druidroles.model.shardspec import ShardSpec

_INSTANT = r"-?\d{4,9}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_ID = re.compile(
    rf"(?P<ds>.+?)_(?P<start>{_INSTANT})_(?P<end>{_INSTANT})_(?P<version>.+?)(?:_(?P<part>[1-9]\d*))?", re.S
)


def segment_id(data_source: str, interval: Interval, version: str, partition_num: int) -> str:
    """`{dataSource}_{start}_{end}_{version}[_{partition}]`; the partition is left out where it is 0."""
    base = f"{data_source}_{format_iso(interval.start_ms)}_{format_iso(interval.end_ms)}_{version}"
    return f"{base}_{partition_num}" if partition_num else base


@attrs.frozen(order=True)
class SegmentId:
    """A segment's id in its parts."""

    data_source: str
    interval: Interval
    version: str
    partition_num: int = 0

    def __str__(self) -> str:
        return segment_id(self.data_source, self.interval, self.version, self.partition_num)

    @classmethod
    def parse(cls, text: str) -> SegmentId:
        """Take an id apart; a trailing positive integer counts as partition. Raises ModelError for what is none.

        Data source and version may themselves hold underscores, so an id can be read in more than one way; Druid too
        takes the first pair of instants.
        """
        match = _ID.fullmatch(text)
        if match is None:
            raise ModelError(f"{text!r} is not a segment id")
        interval = Interval(parse_iso(match["start"]), parse_iso(match["end"]))
        return cls(match["ds"], interval, match["version"], int(match["part"] or 0))


@attrs.frozen
class SegmentDescriptor:
    """What a query names when it asks for a piece of a segment: `{"itvl", "ver", "part"}`."""

    interval: Interval
    version: str
    partition: int

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> SegmentDescriptor:
        """Read one; raises ModelError naming the field at fault."""
        return cls(Interval.parse(need_str(obj, "itvl")), need_str(obj, "ver"), need_int(obj, "part"))

    def to_json(self) -> dict[str, Any]:
        """With Druid's short keys."""
        return {"itvl": str(self.interval), "ver": self.version, "part": self.partition}


@lru_cache(maxsize=4096)
def _split(joined: str) -> tuple[str, ...]:
    # Cached so that the many segments of a data source share one tuple.
    return tuple(name for name in joined.split(",") if name)


def _names(obj: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = obj.get(key)
    if type(value) is str:
        return _split(value)
    names = get_list(obj, key)
    if not all(isinstance(name, str) for name in names):
        raise ModelError(f"{key} is not a list of names")
    return tuple(names)


@attrs.frozen(eq=False)
class DataSegment:
    """What is known of a segment. `size` in bytes; `load_spec` says where deep storage keeps it, and is the pusher's
    business.
    """

    data_source: str
    interval: Interval
    version: str
    load_spec: Mapping[str, Any] | None = None
    dimensions: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    shard_spec: ShardSpec = attrs.field(factory=lambda: ShardSpec.from_json(None))
    binary_version: int = 9
    size: int = 0
    last_compaction_state: Mapping[str, Any] | None = None
    projections: tuple[str, ...] | None = None
    id: str = attrs.field(init=False)

    @id.default
    def _make_id(self) -> str:
        return segment_id(self.data_source, self.interval, self.version, self.shard_spec.partition_num)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, DataSegment) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    @property
    def partition_num(self) -> int:
        """The number of its partition within its time chunk and version."""
        return self.shard_spec.partition_num

    @property
    def descriptor(self) -> SegmentDescriptor:
        """The descriptor that names the whole of it."""
        return SegmentDescriptor(self.interval, self.version, self.partition_num)

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> DataSegment:
        """Read one, with keys that are not known ignored; raises ModelError naming the field at fault."""
        size = get_int(obj, "size", 0)
        if size < 0:
            raise ModelError("size is negative")
        return cls(
            data_source=need_str(obj, "dataSource"),
            interval=Interval.parse(need_str(obj, "interval")),
            version=need_str(obj, "version"),
            load_spec=get_object(obj, "loadSpec"),
            dimensions=_names(obj, "dimensions"),
            metrics=_names(obj, "metrics"),
            shard_spec=ShardSpec.from_json(obj.get("shardSpec")),
            binary_version=get_int(obj, "binaryVersion", 9),
            size=size,
            last_compaction_state=get_object(obj, "lastCompactionState"),
            projections=_names(obj, "projections") if obj.get("projections") is not None else None,
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it, in its order of keys."""
        out: dict[str, Any] = {
            "dataSource": self.data_source,
            "interval": str(self.interval),
            "version": self.version,
            "loadSpec": None if self.load_spec is None else dict(self.load_spec),
            "dimensions": ",".join(self.dimensions),
            "metrics": ",".join(self.metrics),
        }
        if self.projections is not None:
            out["projections"] = ",".join(self.projections)
        out["shardSpec"] = self.shard_spec.to_json()
        if self.last_compaction_state is not None:
            out["lastCompactionState"] = dict(self.last_compaction_state)
        out["binaryVersion"] = self.binary_version
        out["size"] = self.size
        out["identifier"] = self.id
        return out
