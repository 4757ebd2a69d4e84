"""Which segments have fewer copies than their rule wants, since when, and how many that makes: for those who ask.

Kept up to date by the planner, so that counting takes no walk over all segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs


@attrs.frozen
class Want:
    """One segment's want. `missing` is the number of copies wanting by tier; `unavailable` says that none is served."""

    data_source: str
    since_ms: int
    unavailable: bool
    missing: Mapping[str, int]


class Wanting:
    """All wants by segment id, and their sums."""

    def __init__(self) -> None:
        self.unavailable: dict[str, int] = {}  # datasource -> segments without a copy
        self.under_replicated: dict[tuple[str, str], int] = {}  # tier and datasource -> copies wanting
        self._wants: dict[str, Want] = {}

    def __len__(self) -> int:
        return len(self._wants)

    def of(self, segment_id: str) -> Want | None:
        """What a segment wants; None where nothing is wanting."""
        return self._wants.get(segment_id)

    def items(self) -> Iterator[tuple[str, Want]]:
        """All wants, the oldest first."""
        return iter(self._wants.items())

    def note(
        self, segment_id: str, data_source: str, missing: Mapping[str, int], unavailable: bool, now_ms: int
    ) -> None:
        """The want of a segment as it is now; its beginning is kept. Without any it is satisfied."""
        before = self._wants.get(segment_id)
        if before is not None:
            self._count(before, -1)
        if not missing and not unavailable:
            self._wants.pop(segment_id, None)
            return
        since_ms = before.since_ms if before is not None else now_ms
        want = self._wants[segment_id] = Want(data_source, since_ms, unavailable, dict(missing))
        self._count(want, 1)

    def satisfied(self, segment_id: str) -> None:
        """Nothing is wanted of it."""
        before = self._wants.pop(segment_id, None)
        if before is not None:
            self._count(before, -1)

    def _count(self, want: Want, by: int) -> None:
        if want.unavailable:
            self.unavailable[want.data_source] = self.unavailable.get(want.data_source, 0) + by
        for tier, count in want.missing.items():
            key = (tier, want.data_source)
            self.under_replicated[key] = self.under_replicated.get(key, 0) + by * count
