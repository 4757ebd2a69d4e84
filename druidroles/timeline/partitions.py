"""The partitions of one time chunk and version (Druid's PartitionHolder), and whether they form a complete set."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from druidroles.model.shardspec import ShardSpec, is_complete

T = TypeVar("T")


class PartitionChunk(NamedTuple, Generic[T]):
    """One partition, with the value that the caller stored for it."""

    spec: ShardSpec
    value: T


class PartitionHolder(Generic[T]):
    """Chunks by partition number.

    `complete` is whether they form a complete set. Every change updates it, usually without reading all chunks.
    """

    __slots__ = ("_chunks", "_cores", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._chunks: dict[int, PartitionChunk[T]] = {}
        self._cores: dict[int, int] = {}  # size of the core set -> how many partitions have that size in their spec

    def __len__(self) -> int:
        return len(self._chunks)

    def __contains__(self, number: int) -> bool:
        return number in self._chunks

    def get(self, number: int) -> PartitionChunk[T] | None:
        """Return the partition with this number, or None."""
        return self._chunks.get(number)

    def chunks(self) -> tuple[PartitionChunk[T], ...]:
        """Return all partitions in the order of their numbers."""
        return tuple(chunk for _, chunk in sorted(self._chunks.items()))

    def put(self, spec: ShardSpec, value: T) -> int:
        """Add a partition, or replace the one with the same number.

        Returns the growth of the number of partitions: 1 after an addition, 0 after a replacement.
        """
        before = len(self._chunks)
        if spec.partition_num in self._chunks:
            self.remove(spec.partition_num)
        stays_complete = self.complete and self._stays_complete(spec)
        self._chunks[spec.partition_num] = PartitionChunk(spec, value)
        if spec.core_partitions is not None:
            self._cores[spec.core_partitions] = self._cores.get(spec.core_partitions, 0) + 1
        self.complete = stays_complete or self._is_complete()
        return len(self._chunks) - before

    def remove(self, number: int) -> PartitionChunk[T] | None:
        """Remove the partition with this number and return it, or return None if there is none."""
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
        # An appended partition requires no partition beyond the ones of the core set. When this is not certain, return
        # False, and the caller checks all partitions.
        if added.core_partitions is None:
            return not self._cores
        return 0 <= added.core_partitions <= max(self._cores, default=-1)

    def _is_complete(self) -> bool:
        # A core set of n needs at least n partitions, so a smaller number is incomplete without a check of each one.
        # Filling a set of n therefore takes n steps, not n². If the types of shard specs are mixed, the first one
        # decides, as it does in `is_complete`.
        first = next(iter(self._chunks.values()), None)
        if first is None:
            return False
        if first.spec.core_partitions == len(self._chunks) == 1:
            return first.spec.partition_num == 0
        if first.spec.core_partitions is not None and len(self._chunks) < max(self._cores):
            return False
        return is_complete([chunk.spec for chunk in self._chunks.values()])
