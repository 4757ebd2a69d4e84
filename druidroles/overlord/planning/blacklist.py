"""Workers on which one task after another fails, and that get none for a while. Pure.

Druid's rule (RemoteTaskRunner): more than `failures` in a row and a worker is left out for `backoff_ms`, as long as no
more than a part of all workers is: where most fail it is the tasks that are at fault. A success ends it at once. Druid
looks every five minutes whether a time is up; here it is up when it is up.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class BlacklistRule:
    """Druid's settings: `maxRetriesBeforeBlacklist`, `workerBlackListBackoffTime`, `maxPercentageBlacklistWorkers`."""

    failures: int = 5
    backoff_ms: int = 900_000
    percentage: int = 20


class Blacklist:
    """The failures in a row of each worker, and until when it is left out."""

    def __init__(self, rule: BlacklistRule) -> None:
        self._rule = rule
        self._failures: dict[str, int] = {}
        self._until: dict[str, int] = {}

    def succeeded(self, worker: str) -> None:
        """A task succeeded there."""
        self._failures.pop(worker, None)
        self._until.pop(worker, None)

    def failed(self, worker: str, workers: int, now_ms: int) -> bool:
        """A task failed there, while so many workers are announced; whether the worker is left out from now on."""
        self._failures[worker] = self._failures.get(worker, 0) + 1
        if self._failures[worker] <= self._rule.failures:
            return False
        if worker not in self._until and len(self._until) > workers * self._rule.percentage / 100 - 1:
            return False
        self._until[worker] = now_ms + self._rule.backoff_ms
        return True

    def sweep(self, workers: int, now_ms: int) -> list[str]:
        """Let back in whose time is up, and as many as are too many; returns them."""
        freed = []
        for worker, until in sorted(self._until.items(), key=lambda item: item[1]):
            if until <= now_ms or len(self._until) > workers * self._rule.percentage / 100:
                del self._until[worker]
                self._failures.pop(worker, None)
                freed.append(worker)
        return freed

    def until(self, worker: str) -> int | None:
        """When a worker gets tasks again; None if it gets them."""
        return self._until.get(worker)

    @property
    def workers(self) -> frozenset[str]:
        """Those that are left out."""
        return frozenset(self._until)

    @property
    def next_ms(self) -> int | None:
        """When the next one's time is up."""
        return min(self._until.values(), default=None)
