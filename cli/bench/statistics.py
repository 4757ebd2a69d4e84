"""Percentiles and rates of measured durations."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import attrs


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the least value that at least `percent` per cent of the values do not exceed (nearest rank).

    `ordered` must be sorted. Raises ValueError if it is empty.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@attrs.define(eq=False)
class Samples:
    """The durations of one operation, and the wall time of its measurement, both in seconds."""

    operation: str
    clients: int
    durations: array[float] = attrs.field(factory=lambda: array("d"))
    wall_s: float = 0.0

    def summary(self) -> Summary:
        """Return rate and percentiles. Raises ValueError if there are no durations."""
        ordered = sorted(self.durations)
        return Summary(
            operation=self.operation,
            clients=self.clients,
            count=len(ordered),
            rate=len(ordered) / self.wall_s,
            p50_us=percentile(ordered, 50) * 1e6,
            p90_us=percentile(ordered, 90) * 1e6,
            p99_us=percentile(ordered, 99) * 1e6,
            p99_9_us=percentile(ordered, 99.9) * 1e6,
            max_us=ordered[-1] * 1e6,
        )


@attrs.frozen(kw_only=True)
class Summary:
    """One line of the result: operations per second, and percentiles of the duration in microseconds."""

    operation: str
    clients: int
    count: int
    rate: float
    p50_us: float
    p90_us: float
    p99_us: float
    p99_9_us: float
    max_us: float

    def as_json(self) -> dict[str, Any]:
        """Return the members of a JSON object, with numbers rounded to one decimal place."""
        fields = attrs.asdict(self)
        return {name: round(value, 1) if isinstance(value, float) else value for name, value in fields.items()}

    def as_row(self) -> dict[str, Any]:
        """Return the row of a table, by column title."""
        return {
            "operation": self.operation,
            "clients": self.clients,
            "count": self.count,
            "per second": self.rate,
            "p50 µs": self.p50_us,
            "p90 µs": self.p90_us,
            "p99 µs": self.p99_us,
            "p99.9 µs": self.p99_9_us,
            "max µs": self.max_us,
        }
