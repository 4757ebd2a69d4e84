"""What has been ordered and is not done yet, server by server: what waits in memory, and what stands in the tree.

The planners may order a hundred thousand loads at once. The tree gets only as many requests as the servers have use
for, and a session may hold only so many ephemerals; the rest waits here, where it can be taken back for nothing. Drops
go first, because they make room, then first copies, then replicas, then moves, as Druid orders its queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from druidroles.coordination.load_queue import Key
from druidroles.model.change_request import Action
from druidroles.model.segment import DataSegment

PER_SERVER = 200  # requests to one server that stand in the tree together
IN_TREE = 8_000  # requests to all servers; a session's limit is 10,000 ephemerals, and it has others


@attrs.define(eq=False)
class Order:
    """One load or drop. `written_ms` and `czxid` tell since when it is in the tree; `started` that it was begun.

    `source` is the server that a segment moves from.
    """

    server: str
    segment: DataSegment
    action: Action
    primary: bool = False
    attempt: int = 1
    source: str | None = None
    ordered_ms: int = 0
    written_ms: int | None = None
    czxid: int = 0
    started: bool = False
    withdrawn: bool = False  # taken back while it was being written
    late: bool = False  # begun, and not done within the load timeout
    done: bool = False  # what it asked for has been seen

    @property
    def key(self) -> Key:
        """Which server and which segment: there is one order a key."""
        return (self.server, self.segment.id)

    @property
    def rank(self) -> int:
        """0 a drop, 1 a first copy, 2 a replica, 3 a move."""
        if self.action is Action.DROP:
            return 0
        return 3 if self.source is not None else 1 if self.primary else 2


@attrs.define(eq=False)
class ServerOrders:
    """The orders to one server by segment id: waiting in memory, by rank, and in the tree."""

    waiting: tuple[dict[str, Order], ...] = attrs.field(factory=lambda: ({}, {}, {}, {}))
    in_tree: dict[str, Order] = attrs.field(factory=dict)

    def all_waiting(self) -> Iterator[Order]:
        """What waits, in the order in which it will be written."""
        return (order for ranked in self.waiting for order in ranked.values())


class Orders:
    """The orders to all servers."""

    def __init__(self, *, per_server: int = PER_SERVER, in_tree: int = IN_TREE) -> None:
        self._per_server = per_server
        self._in_tree_max = in_tree
        self._servers: dict[str, ServerOrders] = {}
        self.in_tree_count = 0

    def put(self, order: Order) -> None:
        """An order to be written; it replaces what waited for the same server and segment."""
        self.remove_waiting(*order.key)
        self._of(order.server).waiting[order.rank][order.segment.id] = order

    def remove_waiting(self, server: str, segment_id: str) -> Order | None:
        """Forget an order that waits; returns it."""
        for ranked in self._of(server).waiting:
            order = ranked.pop(segment_id, None)
            if order is not None:
                return order
        return None

    def of(self, server: str, segment_id: str) -> Order | None:
        """The order about a segment to a server, waiting or in the tree; None if there is none."""
        of_server = self._servers.get(server, ServerOrders())
        waiting = (ranked[segment_id] for ranked in of_server.waiting if segment_id in ranked)
        return of_server.in_tree.get(segment_id) or next(waiting, None)

    def all_of(self, server: str) -> Iterator[Order]:
        """All orders to a server, those in the tree first. Change nothing while iterating."""
        of_server = self._servers.get(server, ServerOrders())
        yield from of_server.in_tree.values()
        yield from of_server.all_waiting()

    def oldest_ms(self, server: str) -> int | None:
        """When the oldest order to a server was given; None if it has none. What waits, waits in that order."""
        of_server = self._servers.get(server, ServerOrders())
        first = (next(iter(ranked.values())) for ranked in of_server.waiting if ranked)
        return min((order.ordered_ms for order in (*of_server.in_tree.values(), *first)), default=None)

    def is_waiting(self, order: Order) -> bool:
        """Whether this very order still waits."""
        return self._of(order.server).waiting[order.rank].get(order.segment.id) is order

    def put_in_tree(self, order: Order, czxid: int, now_ms: int) -> None:
        """It stands in the tree from now on, and waits no longer."""
        of_server = self._of(order.server)
        of_server.waiting[order.rank].pop(order.segment.id, None)
        if order.segment.id not in of_server.in_tree:
            self.in_tree_count += 1
        of_server.in_tree[order.segment.id] = order
        order.written_ms, order.czxid = now_ms, czxid

    def in_tree(self, server: str, segment_id: str) -> Order | None:
        """The order that stands in the tree."""
        of_server = self._servers.get(server)
        return None if of_server is None else of_server.in_tree.get(segment_id)

    def remove_in_tree(self, server: str, segment_id: str) -> Order | None:
        """It stands in the tree no longer; returns it."""
        of_server = self._servers.get(server)
        order = None if of_server is None else of_server.in_tree.pop(segment_id, None)
        if order is not None:
            self.in_tree_count -= 1
        return order

    def all_in_tree(self) -> Iterator[Order]:
        """Everything that stands in the tree. Change nothing while iterating."""
        return (order for of_server in self._servers.values() for order in of_server.in_tree.values())

    def remove_server(self, server: str) -> ServerOrders:
        """Forget all orders to a server; returns them."""
        gone = self._servers.pop(server, ServerOrders())
        self.in_tree_count -= len(gone.in_tree)
        return gone

    def next_batch(self, count: int, occupied: Callable[[Order], bool]) -> list[Order]:
        """Up to `count` orders to be written now, as many as the limits allow; they go on waiting until they stand.

        `occupied` tells of an order whose place in the tree is still taken by another request.
        """
        batch: list[Order] = []
        count = min(count, self._in_tree_max - self.in_tree_count)
        for of_server in self._servers.values():
            room = min(self._per_server - len(of_server.in_tree), count - len(batch))
            for order in of_server.all_waiting():
                if room <= 0:
                    break
                if not occupied(order):
                    batch.append(order)
                    room -= 1
        return batch

    def _of(self, server: str) -> ServerOrders:
        return self._servers.setdefault(server, ServerOrders())
