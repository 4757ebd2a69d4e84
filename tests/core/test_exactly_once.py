"""A write sent again is answered from memory, whatever became of it the first time; and the memory is bounded."""

from __future__ import annotations

from engine_bench import Bench, replies

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.core.state.sessions import MAX_REMEMBERED, MAX_REMEMBERED_BYTES


def test_a_number_sent_again_is_answered_the_same_and_changes_nothing() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    bench.create(a, 1, "/q-", mode=2)
    bench.create(a, 2, "/none/x")
    bench.send(a, 3, Op.MULTI, ((1, "/m", b"", None, 0, 0), (13, "/none", -1)))
    bench.sync()
    first = told.take()
    assert replies(first) == [(1, 0), (2, -101), (3, 0)]
    b, told, _ = bench.connected(welcome.session_id)
    before = bench.machine.zxid
    bench.create(b, 1, "/q-", mode=2)
    bench.create(b, 2, "/none/x")
    bench.send(b, 3, Op.MULTI, ((1, "/m", b"", None, 0, 0), (13, "/none", -1)))
    bench.sync()
    assert told.take() == first  # zxids, error outcomes and results, to the letter
    assert bench.machine.zxid == before
    assert bench.machine.statistics().znodes == 5


def test_an_error_is_remembered_even_if_the_write_would_succeed_now() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    bench.create(a, 1, "/n/x")
    bench.create(a, 2, "/n")
    bench.sync()
    told.take()
    b, told, _ = bench.connected(welcome.session_id)
    bench.create(b, 1, "/n/x")
    bench.sync()
    assert replies(told.take()) == [(1, -101)]


def test_the_memory_survives_a_snapshot() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    bench.send(a, 1, Op.MULTI, ((1, "/m", b"", None, 0, 0), (5, "/m", b"1", -1), (13, "/m", 1)))
    bench.sync()
    first = told.take()
    again = Bench(Machine.from_snapshot(bench.machine.snapshot_rows()))
    b, told, welcome = again.connected(welcome.session_id)
    assert welcome.last_number == 1
    again.send(b, 1, Op.MULTI, ((1, "/m", b"", None, 0, 0), (5, "/m", b"1", -1), (13, "/m", 1)))
    again.sync()
    assert told.take() == first
    assert again.machine.digest() != bench.machine.digest()  # the new attachment is part of the state


def test_what_is_acknowledged_is_forgotten_and_refused_from_then_on() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    for number in range(1, 5):
        bench.create(a, number, f"/{number}", acked=1)
    bench.create(a, 5, "/5", acked=4)
    bench.sync()
    session = bench.machine.sessions[welcome.session_id]
    assert (list(session.outcomes), session.acked) == ([4, 5], 4)
    told.take()
    bench.create(a, 3, "/3", acked=1)
    bench.create(a, 4, "/4", acked=4)
    bench.sync()
    assert replies(told.take()) == [(3, -8), (4, 0)]


def test_a_refusal_before_the_log_is_not_remembered() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    bench.send(a, 1, Op.CREATE, "/n", b"", [], 0, 0)
    bench.send(a, 1, Op.CREATE, "/n", b"", None, 0, 0)
    bench.sync()
    assert replies(told.take()) == [(1, -114), (1, 0)]
    assert list(bench.machine.sessions[welcome.session_id].outcomes) == [1]


def test_numbers_must_be_numbers_and_acked_not_above_them() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    for number, acked in ((1, 0), (1, 2), (2, True), (1, -1)):
        bench.create(a, number, "/n", acked=acked)
    assert replies(told.take()) == [(1, -1002), (1, -1002), (2, -1002), (1, -1002)]
    assert bench.take() == []


def test_a_whole_window_can_be_sent_again_after_a_lost_connection() -> None:
    """Half of it applied, its replies lost: neither half may be refused, for it may have happened."""
    window = 1_000
    bench = Bench(outstanding_per_session=2 * window + 1)
    a, _, welcome = bench.connected()
    for number in range(1, window // 2 + 1):
        bench.create(a, number, f"/{number}-", mode=2)
    bench.sync()
    bench.engine.detach(a, bench.now)
    b, told, _ = bench.connected(welcome.session_id)
    for number in range(1, window + 1):
        bench.create(b, number, f"/{number}-", mode=2)
    bench.sync()
    assert replies(told.take()) == [(number, 0) for number in range(1, window + 1)]
    assert bench.machine.statistics().znodes == 4 + window


def test_it_can_be_sent_again_before_the_first_is_applied() -> None:
    bench = Bench(outstanding_per_session=2_001)
    a, _, welcome = bench.connected()
    for number in range(1, 801):
        bench.create(a, number, f"/{number}")
    bench.take()
    b, told = bench.hello(welcome.session_id)
    for number in range(1, 201):
        bench.create(b, number, f"/{number}")
    bench.sync()
    assert replies(told.take()) == [(number, 0) for number in range(1, 201)]


def test_an_ephemeral_sent_again_is_not_counted_twice() -> None:
    bench = Bench(ephemerals_per_session=2)
    a, told, welcome = bench.connected()
    for number in (1, 2, 3):
        bench.create(a, number, f"/{number}", mode=1)
    bench.sync()
    assert sorted(replies(told.take())) == [(1, 0), (2, 0), (3, -1006)]
    b, told, _ = bench.connected(welcome.session_id)
    bench.create(b, 2, "/2", mode=1)
    bench.create(b, 4, "/4", mode=1)
    bench.send(b, 5, Op.DELETE, "/1", -1)
    bench.sync()
    bench.create(b, 6, "/4", mode=1)
    bench.sync()
    assert sorted(replies(told.take())) == [(2, 0), (4, -1006), (5, 0), (6, 0)]


def test_unacknowledged_outcomes_are_limited_in_number() -> None:
    bench = Bench(outstanding_per_session=10_000)
    a, told, welcome = bench.connected()
    for number in range(1, MAX_REMEMBERED + 11):
        bench.send(a, number, Op.DELETE, "/none", -1)
    bench.sync()
    refused = [number for number, error in replies(told.take()) if error == -1003]
    assert refused == list(range(MAX_REMEMBERED + 1, MAX_REMEMBERED + 11))
    assert len(bench.machine.sessions[welcome.session_id].outcomes) == MAX_REMEMBERED
    bench.send(a, 2_000, Op.DELETE, "/none", -1, acked=MAX_REMEMBERED + 1)
    bench.sync()
    assert replies(told.take()) == [(2_000, -101)]
    assert list(bench.machine.sessions[welcome.session_id].outcomes) == [2_000]


def test_the_limit_holds_over_a_restart() -> None:
    bench = Bench(outstanding_per_session=10_000)
    a, _, welcome = bench.connected()
    for number in range(1, MAX_REMEMBERED + 1):
        bench.send(a, number, Op.DELETE, "/none", -1)
    bench.sync()
    again = Bench(Machine.from_snapshot(bench.machine.snapshot_rows()))
    b, told, _ = again.connected(welcome.session_id)
    again.send(b, 1_500, Op.DELETE, "/none", -1)
    again.send(b, 7, Op.DELETE, "/none", -1)
    again.sync()
    assert sorted(replies(told.take())) == [(7, -101), (1_500, -1003)]


def test_unacknowledged_outcomes_are_limited_in_bytes() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    many = tuple((1, f"/{'x' * 200}-", b"", None, 2, 0) for _ in range(1_000))
    for number in range(1, 6):
        bench.send(a, number, Op.MULTI, many)
        bench.sync()
    errors = [error for _, error in replies(told.take())]
    assert errors == [0, 0, 0, -1003, -1003]
    assert bench.machine.sessions[welcome.session_id].weight > MAX_REMEMBERED_BYTES
    bench.send(a, 6, Op.DELETE, "/none", -1, acked=4)
    bench.sync()
    assert replies(told.take()) == [(6, -101)]


def test_without_memory_every_request_takes_effect() -> None:
    """A protocol without numbers of this kind (ZooKeeper's) gets no outcome remembered."""
    bench = Bench()
    a, told, welcome = bench.connected(remembers=False)
    for _ in range(2):
        bench.create(a, 1, "/n", acked=0)
    bench.sync()
    assert replies(told.take()) == [(1, 0), (1, -110)]
    assert bench.machine.sessions[welcome.session_id].outcomes == {}


def test_a_write_of_an_ended_session_is_refused_and_takes_a_zxid() -> None:
    machine = Machine.new(b"h" * 16)
    machine.apply(1, Record(int(Op.CREATE_SESSION), 1, 0, 0, 0, (), (b"p", 1000)))
    machine.apply(2, Record(int(Op.CLOSE_SESSION), 1, 1, 1, 0, (), ()))
    outcome = machine.apply(3, Record(int(Op.CREATE), 1, 2, 1, 0, (), ("/n", b"", None, 0, 0)))
    assert (outcome.error, outcome.zxid) == (-112, 3)
