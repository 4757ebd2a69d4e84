"""What a Coordinator shows under `/metrics` beside its counters, by Druid's names (docs: druid-compatibility).

Gauges are read from the term that leads, so a stand-by shows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.metrics import Labels, Metrics

Readings = Iterator[tuple[Labels, float]]


def show_cluster(metrics: Metrics, leading: Callable[[], CoordinatorTerm | None]) -> None:
    """Register the gauges that are read from the term that leads."""

    def gauge(name: str, about: str, read: Callable[[CoordinatorTerm], Readings]) -> None:
        def readings() -> Readings:
            term = leading()
            if term is not None and term.ready:
                yield from read(term)

        metrics.gauge(name, about, readings)

    gauge("segment/unavailable/count", "Used segments that are to be loaded and have no copy.", _unavailable)
    gauge("segment/underReplicated/count", "Copies that are wanting.", _under_replicated)
    gauge("segment/count", "Used segments.", lambda term: _by_data_source(term, 0))
    gauge("segment/size", "Bytes of used segments.", lambda term: _by_data_source(term, 1))
    gauge("segment/overShadowed/count", "Used segments that newer ones overshadow.", _overshadowed)
    gauge("segment/loadQueue/count", "Loads ordered and not done.", lambda t: _servers(t, lambda s: len(s.loading)))
    gauge("segment/loadQueue/size", "Bytes of those.", lambda t: _servers(t, lambda s: s.loading_bytes))
    gauge("segment/loadQueue/age", "Seconds since the oldest of those was ordered.", _ages)
    gauge("segment/dropQueue/count", "Drops ordered and not done.", lambda t: _servers(t, lambda s: len(s.dropping)))
    gauge("tier/historical/count", "Servers.", lambda t: _tiers(t, lambda servers: len(servers)))
    gauge("tier/total/capacity", "Bytes of all servers.", lambda t: _tiers(t, lambda s: sum(x.max_size for x in s)))
    gauge("tier/used/capacity", "Bytes served.", lambda t: _tiers(t, lambda s: sum(x.served_bytes for x in s)))
    gauge("leader/epoch", "The epoch in which this Coordinator leads.", lambda term: _one(term.leader.epoch))


def _one(value: float) -> Readings:
    yield {}, value


def _unavailable(term: CoordinatorTerm) -> Readings:
    unavailable = term.view.wanting.unavailable
    for name in term.view.used.data_sources():
        yield {"dataSource": name}, unavailable.get(name, 0)


def _under_replicated(term: CoordinatorTerm) -> Readings:
    for (tier, name), count in term.view.wanting.under_replicated.items():
        yield {"tier": tier, "dataSource": name}, count


def _by_data_source(term: CoordinatorTerm, which: int) -> Readings:
    for name in term.view.used.data_sources():
        yield {"dataSource": name}, term.view.used.totals(name)[which]


def _overshadowed(term: CoordinatorTerm) -> Readings:
    yield {}, len(term.view.used.overshadowed())


def _servers(term: CoordinatorTerm, of: Callable[..., float]) -> Readings:
    for name, server in term.view.cluster.servers.items():
        if server.replicates:
            yield {"server": name}, of(server)


def _ages(term: CoordinatorTerm) -> Readings:
    for name, server in term.view.cluster.servers.items():
        if server.replicates:
            yield {"server": name}, term.oldest_order_s(name)


def _tiers(term: CoordinatorTerm, of: Callable[..., float]) -> Readings:
    for tier in term.view.cluster.tiers():
        yield {"tier": tier}, of(list(term.view.cluster.tier(tier)))
