"""What a process counts, under Druid's metric names, in the text format that Prometheus reads.

`query/node/time` becomes `druid_query_node_time`, as in Druid's own Prometheus emitter, with its buckets; times are
seconds. Dimensions keep Druid's spelling (`dataSource`, `server`). A name is one metric however often it is asked for,
so that two roles in one process count together.

Labels may come from outside, from queries say, so each metric keeps a bounded number of them; what is beyond counts
under the label `other`, and nothing is lost from the sums.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

SERIES_MAX = 1_000  # of one metric
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0)
_OTHER = "other"

Labels = Mapping[str, str]
Key = tuple[tuple[str, str], ...]
# What a gauge reads when it is looked at: one number, or one for each of some labels.
Reading = float | Iterable[tuple[Labels, float]]


def _key(labels: Labels) -> Key:
    return tuple(sorted(labels.items()))


def _bounded(key: Key, known: Mapping[Key, object]) -> Key:
    if key in known or len(known) < SERIES_MAX:
        return key
    return tuple((name, _OTHER) for name, _ in key)


class Counter:
    """A number that only rises."""

    kind = "counter"

    def __init__(self) -> None:
        self._values: dict[Key, float] = {}

    def add(self, by: float = 1, **labels: str) -> None:
        """Count."""
        key = _bounded(_key(labels), self._values)
        self._values[key] = self._values.get(key, 0) + by

    def value(self, **labels: str) -> float:
        """What has been counted under these labels."""
        return self._values.get(_key(labels), 0)

    def samples(self) -> Iterator[tuple[str, Key, float]]:
        """Suffix, labels and value of each line."""
        # A counter without labels is there from the start, so that its first increase is seen as one.
        for key, value in (self._values or {(): 0.0}).items():
            yield "", key, value


class Gauge:
    """A number that rises and falls: set, or read from `read` whenever somebody looks."""

    kind = "gauge"

    def __init__(self, read: Callable[[], Reading] | None = None) -> None:
        self._read = read
        self._values: dict[Key, float] = {}

    def set(self, value: float, **labels: str) -> None:
        """Set it."""
        self._values[_bounded(_key(labels), self._values)] = value

    def remove(self, **labels: str) -> None:
        """Forget the number under these labels: what it was about is gone."""
        self._values.pop(_key(labels), None)

    def samples(self) -> Iterator[tuple[str, Key, float]]:
        """Suffix, labels and value of each line."""
        for key, value in self._values.items():
            yield "", key, value
        reading = self._read() if self._read is not None else ()
        if isinstance(reading, int | float):
            yield "", (), reading
        else:
            for labels, value in reading:
                yield "", _key(labels), value


class Timer:
    """How long something took, in seconds, as a histogram."""

    kind = "histogram"

    def __init__(self) -> None:
        self._counts: dict[Key, list[int]] = {}
        self._sums: dict[Key, float] = {}

    def observe(self, seconds: float, **labels: str) -> None:
        """Note one duration."""
        key = _bounded(_key(labels), self._counts)
        counts = self._counts.setdefault(key, [0] * (len(BUCKETS_S) + 1))
        counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + seconds

    @contextmanager
    def time(self, **labels: str) -> Iterator[None]:
        """Note how long the block takes, also where it raises."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - begun, **labels)

    def count(self, **labels: str) -> int:
        """How many durations have been noted under these labels."""
        return sum(self._counts.get(_key(labels), ()))

    def samples(self) -> Iterator[tuple[str, Key, float]]:
        """Suffix, labels and value of each line."""
        for key, counts in self._counts.items():
            total = 0
            for limit, count in zip((*BUCKETS_S, None), counts, strict=True):
                total += count
                yield "_bucket", (*key, ("le", "+Inf" if limit is None else str(limit))), total
            yield "_sum", key, self._sums[key]
            yield "_count", key, total


class _Metric(Protocol):
    kind: str

    def samples(self) -> Iterator[tuple[str, Key, float]]: ...


M = TypeVar("M", bound=_Metric)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[str, _Metric]] = {}

    def counter(self, name: str, about: str) -> Counter:
        """The counter of this name; `about` is one line for whoever reads it."""
        return self._metric(name, about, Counter, Counter)

    def gauge(self, name: str, about: str, read: Callable[[], Reading] | None = None) -> Gauge:
        """The gauge of this name. With `read` it shows what that says, which the last who asks decides."""
        if read is not None:
            self._metrics.pop(name, None)
        return self._metric(name, about, Gauge, lambda: Gauge(read))

    def timer(self, name: str, about: str) -> Timer:
        """The timer of this name."""
        return self._metric(name, about, Timer, Timer)

    def render(self) -> str:
        """All of them, by name, as text."""
        lines: list[str] = []
        for name, (about, metric) in sorted(self._metrics.items()):
            written = written_name(name)
            lines.append(f"# HELP {written} {about} (Druid's {name})")
            lines.append(f"# TYPE {written} {metric.kind}")
            lines += [f"{written}{suffix}{_written(key)} {_number(value)}" for suffix, key, value in metric.samples()]
        return "\n".join(lines) + "\n"

    def route(self) -> BaseRoute:
        """`GET /metrics`."""

        async def show(request: Request) -> Response:
            return Response(self.render(), media_type=TEXT_TYPE)

        return Route("/metrics", show)

    def _metric(self, name: str, about: str, kind: type[M], make: Callable[[], M]) -> M:
        _, metric = self._metrics.setdefault(name, (about, make()))
        if not isinstance(metric, kind):
            raise TypeError(f"metric {name} is a {metric.kind}")
        return metric


def written_name(name: str) -> str:
    """Druid's name of a metric as Prometheus has it."""
    return "druid_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _written(key: Key) -> str:
    if not key:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in key) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
