"""Which orders go to the tree, and in which order."""

from __future__ import annotations

from druidroles.coordinator.loading.orders import Order, Orders
from druidroles.model.change_request import Action
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment

DAY_MS = 86_400_000


def order(day: int, *, server: str = "a", primary: bool = False, action: Action = Action.LOAD) -> Order:
    segment = DataSegment("wiki", Interval(day * DAY_MS, (day + 1) * DAY_MS), "v1", size=10)
    return Order(server, segment, action, primary)


def batch(orders: Orders, count: int = 100) -> list[Order]:
    return orders.next_batch(count, lambda one: False)


def test_drops_first_then_first_copies_then_replicas() -> None:
    orders = Orders()
    replica, first, drop = order(1), order(2, primary=True), order(3, action=Action.DROP)
    for one in (replica, first, drop):
        orders.put(one)
    assert batch(orders) == [drop, first, replica]


def test_a_server_gets_no_more_than_it_may_hold_and_others_are_not_held_up_by_it() -> None:
    orders = Orders(per_server=2)
    for day in range(5):
        orders.put(order(day))
    orders.put(order(9, server="b"))
    first = batch(orders)
    assert [one.server for one in first] == ["a", "a", "b"]
    for one in first:
        orders.put_in_tree(one, 1, 0)
    assert batch(orders) == []
    orders.remove_in_tree(*first[0].key)
    assert len(batch(orders)) == 1


def test_the_session_holds_only_so_many() -> None:
    orders = Orders(per_server=10, in_tree=3)
    for day in range(5):
        orders.put(order(day, server=f"s{day}"))
    first = batch(orders)
    assert len(first) == 3
    for one in first:
        orders.put_in_tree(one, 1, 0)
    assert batch(orders) == []
    orders.remove_server("s0")
    assert len(batch(orders)) == 1


def test_one_order_for_a_server_and_segment_the_newest() -> None:
    orders = Orders()
    orders.put(order(1))
    newer = order(1, action=Action.DROP)
    orders.put(newer)
    assert batch(orders) == [newer]


def test_the_oldest_order_waits_or_stands() -> None:
    orders = Orders()
    assert orders.oldest_ms("a") is None
    for day, ordered_ms in ((1, 30), (2, 40), (3, 50)):
        one = order(day, primary=day == 3)
        one.ordered_ms = ordered_ms
        orders.put(one)
    assert orders.oldest_ms("a") == 30
    orders.put_in_tree(batch(orders)[-1], 1, 60)
    orders.remove_waiting("a", order(1).segment.id)
    assert orders.oldest_ms("a") == 40
    assert orders.oldest_ms("b") is None
