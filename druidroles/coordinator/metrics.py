"""What a Coordinator counts and shows under `/metrics`, by Druid's names (docs: druid-compatibility).

Counters rise as things happen. Gauges are read from the term that leads, so a stand-by shows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from druidroles.coordinator.orders import Order
from druidroles.http.metrics import Labels, Metrics
from druidroles.model.change_request import Action

if TYPE_CHECKING:
    from druidroles.coordinator.leading import Leading

Readings = Iterator[tuple[Labels, float]]


class LoadQueueCounts:
    """What became of the orders."""

    def __init__(self, metrics: Metrics) -> None:
        queue = "segment/loadQueue"
        self._assigned = metrics.counter(f"{queue}/assigned", "Loads ordered, by server.")
        self._success = metrics.counter(f"{queue}/success", "Loads done, by server.")
        self._failed = metrics.counter(f"{queue}/failed", "Loads that failed, by server.")
        self._cancelled = metrics.counter(f"{queue}/cancelled", "Loads taken back, by server.")
        self._replicas = metrics.counter("segment/assigned/count", "Loads ordered that are no moves.")
        self._moved = metrics.counter("segment/moved/count", "Moves ordered.")
        self._dropped = metrics.counter("segment/dropped/count", "Drops ordered.")

    def assigned(self, order: Order) -> None:
        """An order was given."""
        if order.action is Action.DROP:
            self._dropped.add()
            return
        self._assigned.add(server=order.server)
        (self._replicas if order.source is None else self._moved).add()

    def succeeded(self, order: Order) -> None:
        """What it asked for was seen."""
        self._of(order, self._success.add)

    def failed(self, order: Order) -> None:
        """It came to nothing."""
        self._of(order, self._failed.add)

    def cancelled(self, order: Order) -> None:
        """It was taken back."""
        self._of(order, self._cancelled.add)

    @staticmethod
    def _of(order: Order, add: Callable[..., None]) -> None:
        if order.action is Action.LOAD:
            add(server=order.server)


def show_cluster(metrics: Metrics, leading: Callable[[], Leading | None]) -> None:
    """Register the gauges that are read from the term that leads."""

    def gauge(name: str, about: str, read: Callable[[Leading], Readings]) -> None:
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


def _unavailable(term: Leading) -> Readings:
    unavailable = term.view.wanting.unavailable
    for name in term.view.used.data_sources():
        yield {"dataSource": name}, unavailable.get(name, 0)


def _under_replicated(term: Leading) -> Readings:
    for (tier, name), count in term.view.wanting.under_replicated.items():
        yield {"tier": tier, "dataSource": name}, count


def _by_data_source(term: Leading, which: int) -> Readings:
    for name in term.view.used.data_sources():
        yield {"dataSource": name}, term.view.used.totals(name)[which]


def _overshadowed(term: Leading) -> Readings:
    yield {}, len(term.view.used.overshadowed())


def _servers(term: Leading, of: Callable[..., float]) -> Readings:
    for name, server in term.view.cluster.servers.items():
        if server.replicates:
            yield {"server": name}, of(server)


def _ages(term: Leading) -> Readings:
    for name, server in term.view.cluster.servers.items():
        if server.replicates:
            yield {"server": name}, term.oldest_order_s(name)


def _tiers(term: Leading, of: Callable[..., float]) -> Readings:
    for tier in term.view.cluster.tiers():
        yield {"tier": tier}, of(list(term.view.cluster.tier(tier)))
