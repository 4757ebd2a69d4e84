"""What became of a Coordinator's orders, by Druid's names: counters, which rise as things happen."""

from __future__ import annotations

from collections.abc import Callable

from druidroles.coordinator.loading.orders import Order
from druidroles.http.metrics import Metrics
from druidroles.model.change_request import Action


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
