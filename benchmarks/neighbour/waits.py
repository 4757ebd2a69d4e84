"""How long requests waited, and how late the measuring process itself was."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs

from cli.bench.statistics import percentile

INTERVAL_S = 0.005
"""The rhythm in which each stream of the polite client asks."""

FAILURES_SHOWN = 5
_PERCENTS = {"p50_ms": 50, "p99_ms": 99, "p99_9_ms": 99.9}


@attrs.define(eq=False)
class Waits:
    """Waits by kind of request, in seconds; `failures` by what was said.

    A stream that waits for an answer cannot ask again. Each request that it would have asked meanwhile counts as one
    that waited for the rest of the time; otherwise a standstill of ten seconds would count as one request.
    """

    by_kind: dict[str, array[float]] = attrs.field(factory=dict)
    lateness: array[float] = attrs.field(factory=lambda: array("d"))
    disk: array[float] = attrs.field(factory=lambda: array("d"))
    failures: Counter[str] = attrs.field(factory=Counter)
    waiting: dict[str, float] = attrs.field(factory=dict)
    complete: bool = False

    def begin(self, stream: str) -> None:
        """A stream asks."""
        self.waiting[stream] = time.perf_counter()

    def end(self, stream: str, kind: str) -> None:
        """The stream has its answer."""
        self._add(kind, time.perf_counter() - self.waiting.pop(stream))

    def summary(self) -> dict[str, Any]:
        """Figures of everything; a request without an answer counts with the time that it has waited so far."""
        unanswered = len(self.waiting)
        for stream in list(self.waiting):
            self.end(stream, f"{stream} unanswered")
        every = sorted(wait for waits in self.by_kind.values() for wait in waits)
        return {
            **spread(every),
            "requests": len(every),
            "failed": self.failures.total(),
            "failures": dict(self.failures.most_common(FAILURES_SHOWN)),
            "unanswered": unanswered,
            "late": spread(sorted(self.lateness)),
            "disk": spread(sorted(self.disk)),
            "kinds": {kind: spread(sorted(waits)) for kind, waits in sorted(self.by_kind.items())},
        }

    def _add(self, kind: str, wait: float) -> None:
        waits = self.by_kind.setdefault(kind, array("d"))
        while wait > 0:
            waits.append(wait)
            wait -= INTERVAL_S


def spread(ordered: Sequence[float]) -> dict[str, float]:
    """Percentiles and the longest, in ms; empty where there is nothing."""
    if not ordered:
        return {}
    found = {name: round(percentile(ordered, percent) * 1e3, 1) for name, percent in _PERCENTS.items()}
    return {**found, "longest_ms": round(ordered[-1] * 1e3, 1)}
