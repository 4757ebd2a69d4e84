"""What storage needs of the state machine (coordserver.core.state.machine.Machine has it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, Self

from coordserver.core.model.records import Record


class State(Protocol):
    """A deterministic machine whose whole state can be written as rows and built from them again."""

    @property
    def index(self) -> int:
        """The index of the last record applied; 0 in a new one."""

    @property
    def history_id(self) -> bytes:
        """16 bytes."""

    @classmethod
    def new(cls, history_id: bytes) -> Self:
        """The state before the first record."""

    @classmethod
    def from_snapshot(cls, rows: Iterable[tuple[Any, ...]]) -> Self:
        """The state that gave these rows."""

    def snapshot_rows(self) -> Iterator[tuple[Any, ...]]:
        """The state as rows that msgpack can hold."""

    def digest(self) -> int:
        """64 bits, equal for equal states."""

    def apply(self, index: int, record: Record) -> object:
        """Take the next record. Replay ignores what it returns."""
