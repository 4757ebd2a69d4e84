"""The partitions of one time chunk and version (Druid's PartitionHolder), and whether they are a whole."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from druidroles.model.shardspec import ShardSpec, is_complete

T = TypeVar("T")


class PartitionChunk(NamedTuple, Generic[T]):
    """One partition, and what its keeper knows of it."""

    spec: ShardSpec
    value: T


class PartitionHolder(Generic[T]):
    """Chunks by partition number. `complete` is kept up to date, most often without looking at all of them."""

    __slots__ = ("_chunks", "_cores", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._chunks: dict[int, PartitionChunk[T]] = {}
        self._cores: dict[int, int] = {}  # how many partitions name a core of this size

    def __len__(self) -> int:
        return len(self._chunks)

    def __contains__(self, number: int) -> bool:
        return number in self._chunks

    def get(self, number: int) -> PartitionChunk[T] | None:
        """One partition."""
        return self._chunks.get(number)

    def chunks(self) -> tuple[PartitionChunk[T], ...]:
        """All partitions, by number."""
        return tuple(chunk for _, chunk in sorted(self._chunks.items()))

    def put(self, spec: ShardSpec, value: T) -> int:
        """Add a partition, or replace what is kept under its number; by how many there are more."""
        before = len(self._chunks)
        if spec.partition_num in self._chunks:
            self.remove(spec.partition_num)
        whole = self.complete and self._stays_complete(spec)
        self._chunks[spec.partition_num] = PartitionChunk(spec, value)
        if spec.core_partitions is not None:
            self._cores[spec.core_partitions] = self._cores.get(spec.core_partitions, 0) + 1
        self.complete = whole or self._is_complete()
        return len(self._chunks) - before

    def remove(self, number: int) -> PartitionChunk[T] | None:
        """Take a partition out; None if it is not there."""
        chunk = self._chunks.pop(number, None)
        if chunk is None:
            return None
        core = chunk.spec.core_partitions
        if core is not None:
            self._cores[core] -= 1
            if not self._cores[core]:
                del self._cores[core]
        self.complete = self._is_complete()
        return chunk

    def _stays_complete(self, added: ShardSpec) -> bool:
        # Appended partitions ask for nothing that is not there; where in doubt, all are looked at.
        if added.core_partitions is None:
            return not self._cores
        return 0 <= added.core_partitions <= max(self._cores, default=-1)

    def _is_complete(self) -> bool:
        # A core of n needs n partitions at least; as long as there are fewer, nobody need look at each. So filling a
        # set of n costs n steps, not n². Where types are mixed the first one decides, as it does in `is_complete`.
        first = next(iter(self._chunks.values()), None)
        if first is None:
            return False
        if first.spec.core_partitions == len(self._chunks) == 1:
            return first.spec.partition_num == 0
        if first.spec.core_partitions is not None and len(self._chunks) < max(self._cores):
            return False
        return is_complete([chunk.spec for chunk in self._chunks.values()])
