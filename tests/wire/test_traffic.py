"""How long requests took, from one stamp for all that a turn left unanswered."""

from __future__ import annotations

from coordserver.wire.traffic import ServerTraffic, Traffic


def asked(traffic: Traffic, count: int, now_ms: int, *, answered: int = 0) -> None:
    """A turn in which requests come, of which some are answered at once."""
    traffic.received += count
    traffic.answered += answered
    if traffic.outstanding:
        traffic.waits(now_ms)


def test_what_is_answered_at_once_took_no_time() -> None:
    traffic = Traffic()
    asked(traffic, 3, 100, answered=3)
    assert not traffic.waiting
    assert (traffic.latency.average_of(3), traffic.latency.least_of(3), traffic.last_latency) == (0.0, 0, 0)


def test_what_waited_is_timed_from_its_turn() -> None:
    traffic = Traffic()
    asked(traffic, 4, 100, answered=1)
    asked(traffic, 2, 104)
    traffic.answered += 4  # three of the first turn, one of the second
    traffic.settle(110)
    assert (traffic.latency.count, traffic.latency.total) == (4, 3 * 10 + 6)
    assert (traffic.latency.least, traffic.latency.most, traffic.last_latency) == (6, 10, 6)
    assert traffic.waiting == 6
    traffic.answered += 1
    traffic.settle(120)
    assert not traffic.waiting
    assert traffic.last_latency == 16
    assert traffic.latency.least_of(traffic.answered) == 0  # one was answered at once
    assert traffic.latency.average_of(traffic.answered) == (30 + 6 + 16) / 6


def test_a_turn_without_a_new_request_leaves_no_stamp() -> None:
    traffic = Traffic()
    asked(traffic, 1, 100)
    for now_ms in range(101, 200):
        traffic.waits(now_ms)
    traffic.answered += 1
    traffic.settle(250)
    assert not traffic.waiting
    assert (traffic.latency.count, traffic.latency.total) == (1, 150)


def test_what_took_the_same_is_put_down_together_and_nothing_is_lost() -> None:
    server = ServerTraffic()
    traffics = [Traffic(server) for _ in range(6)]
    for number, traffic in enumerate(traffics):
        asked(traffic, 2, 100 + number // 2)
        traffic.answered += 2
        traffic.settle(110)
    assert (server.latency.count, server.latency.total) == (12, 4 * (10 + 9 + 8))
    assert (server.latency.least, server.latency.most, server.latency.last) == (8, 10, 8)


def test_a_read_after_a_write_took_no_time() -> None:
    traffic = Traffic()
    asked(traffic, 1, 100)
    traffic.answered += 1
    traffic.settle(107)
    assert traffic.last_latency == 7
    asked(traffic, 1, 108, answered=1)
    assert traffic.last_latency == 0


def test_resets_are_of_one_side_each() -> None:
    server = ServerTraffic()
    one, two = Traffic(server), Traffic(server)
    asked(one, 2, 100)
    one.answered += 2
    one.notified += 1
    one.settle(105)
    asked(two, 1, 100, answered=1)
    server.ended(two)
    assert server.totals(one.counts()) == (3, 3, 1)
    assert (server.latency.count, server.latency.most) == (2, 5)

    one.reset()
    assert one.since_reset() == (0, 0, 0)
    assert (one.latency.count, one.last_latency, one.xid) == (0, 0, -1)
    assert server.totals(one.counts()) == (3, 3, 1)

    server.reset(one.counts())
    assert server.totals(one.counts()) == (0, 0, 0)
    assert server.latency.count == 0
    asked(one, 1, 200, answered=1)
    assert server.totals(one.counts()) == (1, 1, 0)
