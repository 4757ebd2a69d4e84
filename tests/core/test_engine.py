"""Sessions and the order of their requests: what the engine promises its connections."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bench import FIRST_SESSION, HISTORY, PASSWORD, Bench, replies

from coordserver.core.model.acl import Identity
from coordserver.core.model.operations import Op
from coordserver.core.serving.connection import Welcome
from coordserver.core.state.machine import Machine

# -- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_begins_once_its_record_is_durable() -> None:
    bench = Bench()
    _, told = bench.hello(timeout_ms=5_000)
    bench.take()
    assert told.take() == []
    bench.sync()
    assert told.take() == [("welcome", Welcome(0, FIRST_SESSION, PASSWORD, 5_000, HISTORY, 1, 0, 1))]


@pytest.mark.parametrize(("wanted", "granted"), [(0, 4_000), (-5, 4_000), (9_000, 9_000), (10**9, 40_000)])
def test_timeouts_are_clamped_also_at_a_resume(wanted: int, granted: int) -> None:
    bench = Bench(session_timeout_ms_min=4_000, session_timeout_ms_max=40_000)
    _, _, welcome = bench.connected(timeout_ms=wanted)
    assert welcome.timeout_ms == granted
    _, _, welcome = bench.connected(welcome.session_id, timeout_ms=7_000)
    assert welcome.timeout_ms == 7_000
    assert bench.machine.sessions[welcome.session_id].timeout_ms == 7_000


def test_a_resume_moves_the_session_and_the_old_connection_is_told() -> None:
    bench = Bench()
    a, old, welcome = bench.connected()
    bench.send(a, 1, Op.ADD_WATCH, "/n", 0, -1)
    old.take()
    b, new = bench.hello(welcome.session_id)
    bench.create(a, 2, "/ignored")
    bench.create(b, 3, "/n")
    bench.sync()
    assert old.take() == [("close", -118)]
    assert [entry[0] for entry in new.entries] == ["welcome", "reply"]
    assert (new.entries[0][1].attachment, new.entries[0][1].session_id) == (2, welcome.session_id)
    assert set(bench.machine.tree.nodes) >= {"/n"}
    assert "/ignored" not in bench.machine.tree.nodes
    bench.send(a, 4, Op.PING)
    assert old.take() == []
    assert bench.engine.watches.counts() == (0, 0)


def test_a_wrong_password_disturbs_nobody() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    for session, password in ((welcome.session_id, b"x" * 16), (welcome.session_id, b""), (0x999, PASSWORD)):
        _, refused = bench.hello(session, password=password)
        assert [entry[1].error for entry in refused.take()] == [-112]
    assert bench.take() == []
    bench.send(a, 1, Op.PING)
    assert told.take() == [("reply", 1, 1, 0, ())]


def test_a_client_ahead_of_this_server_is_sent_away_unless_its_zxid_is_of_another_history() -> None:
    bench = Bench()
    _, told = bench.hello(last_zxid=1)
    assert told.take()[0][1].error == -1003
    _, told = bench.hello(last_zxid=1, history_id=HISTORY)
    assert told.take()[0][1].error == -1003
    _, _, welcome = bench.connected(last_zxid=99, history_id=b"another")
    assert (welcome.error, welcome.history_id) == (0, HISTORY)


def test_sessions_are_limited_in_number() -> None:
    bench = Bench(sessions=1)
    bench.connected()
    _, told = bench.hello()
    assert told.take()[0][1].error == -1003


def test_close_ends_the_session_its_ephemerals_and_then_the_connection() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    bench.create(a, 1, "/e", mode=1)
    bench.send(a, 2, Op.CLOSE_SESSION)
    bench.send(a, 3, Op.PING)
    bench.sync()
    assert [entry[0] for entry in told.entries] == ["reply", "reply", "close"]
    assert told.entries[1:] == [("reply", 2, 3, 0, ()), ("close", 0)]
    assert "/e" not in bench.machine.tree.nodes
    assert bench.machine.sessions == {}
    assert bench.engine.statistics().sessions == 0
    _, told = bench.hello(welcome.session_id)
    assert told.take()[0][1].error == -112


def test_a_lost_connection_leaves_the_session_and_its_writes() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    bench.create(a, 1, "/e", mode=1)
    bench.send(a, 2, Op.GET_DATA, "/e", False)
    bench.engine.detach(a, bench.now)
    bench.sync()
    assert told.take() == []
    assert bench.machine.tree.nodes["/e"].owner == welcome.session_id
    bench.connected(welcome.session_id)


def test_a_connection_lost_before_its_welcome_leaves_a_session_that_expires() -> None:
    bench = Bench()
    a, told = bench.hello(timeout_ms=500)
    bench.engine.detach(a, bench.now)
    bench.sync()
    assert told.take() == []
    assert len(bench.machine.sessions) == 1
    bench.pass_ms(500)
    bench.sync()
    assert bench.machine.sessions == {}


# -- expiry -----------------------------------------------------------------------------------------------------------


def expired(bench: Bench) -> bool:
    """Whether the last tick proposed an end."""
    return [record.op for record in bench.sync()] == [int(Op.CLOSE_SESSION)]


def test_a_session_expires_exactly_after_its_timeout() -> None:
    bench = Bench()
    a, told, _ = bench.connected(timeout_ms=1_000)
    bench.create(a, 1, "/e", mode=1)
    bench.sync()
    bench.pass_ms(400)
    bench.send(a, 2, Op.PING)
    assert (
        bench.engine.expiry.next_deadline_ms() == 2_000
    )  # a touch costs nothing; the queue notices when it comes to it
    bench.pass_ms(999)
    assert not expired(bench)
    bench.pass_ms(1)
    told.take()
    assert expired(bench)
    assert told.take() == [("close", -112)]
    assert "/e" not in bench.machine.tree.nodes
    assert bench.engine.statistics().expired == 1
    bench.pass_ms(10_000)
    assert not expired(bench)


def test_everything_a_connection_sends_keeps_its_session() -> None:
    bench = Bench()
    a, _, _ = bench.connected(timeout_ms=1_000)
    ways: tuple[Any, ...] = (
        lambda: bench.send(a, 1, Op.PING),
        lambda: bench.send(a, 2, Op.GET_DATA, "/", False),
        lambda: bench.send(a, 3, Op.DELETE, "/none", -1),
        lambda: bench.send(a, 4, Op.CREATE, 17),
        lambda: bench.engine.touch(a, bench.now),
    )
    for way in ways:
        bench.pass_ms(999)
        way()
        bench.sync()
    bench.pass_ms(999)
    assert not expired(bench)
    bench.pass_ms(1)
    assert expired(bench)


def test_a_late_server_gives_every_session_its_lateness() -> None:
    bench = Bench()
    bench.connected(timeout_ms=1_000)
    bench.pass_ms(900)
    bench.pass_ms(30_000, late_ms=29_901)
    assert not expired(bench)
    bench.pass_ms(1)
    assert expired(bench)


def test_a_new_timeout_counts_from_the_resume() -> None:
    bench = Bench()
    a, _, welcome = bench.connected(timeout_ms=10_000)
    bench.engine.detach(a, bench.now)
    bench.pass_ms(5_000)
    bench.connected(welcome.session_id, timeout_ms=1_000)
    bench.pass_ms(999)
    assert not expired(bench)
    bench.pass_ms(1)
    assert expired(bench)


def test_after_a_start_every_session_has_its_whole_timeout() -> None:
    bench = Bench()
    bench.connected(timeout_ms=1_000)
    again = Bench(Machine.from_snapshot(bench.machine.snapshot_rows()))
    again.pass_ms(999)
    assert not expired(again)
    again.pass_ms(1)
    assert expired(again)


def test_a_session_does_not_end_while_its_requests_wait_for_the_disk() -> None:
    """While many wait its connection is not read from, so that nothing could be heard of it."""
    bench = Bench()
    a, told, _ = bench.connected(timeout_ms=1_000)
    bench.create(a, 1, "/e", mode=1)
    bench.take()
    bench.pass_ms(60_000)
    assert bench.take() == []
    bench.sync()
    assert replies(told.take()) == [(1, 0)]
    bench.pass_ms(999)
    assert not expired(bench)
    bench.pass_ms(1)
    assert expired(bench)


def test_a_resume_behind_the_end_of_its_session_is_refused() -> None:
    bench = Bench()
    _, old, welcome = bench.connected(timeout_ms=1_000)
    bench.pass_ms(1_000)
    b, new = bench.hello(welcome.session_id)
    bench.create(b, 1, "/n")
    bench.sync()
    assert old.take() == [("close", -112)]
    assert [(entry[0], entry[1].error) for entry in new.take()] == [("welcome", -112)]
    assert "/n" not in bench.machine.tree.nodes


# -- the order of requests --------------------------------------------------------------------------------------------


def test_reads_wait_behind_the_sessions_own_writes_and_nobody_elses() -> None:
    bench = Bench()
    a, told_a, _ = bench.connected()
    b, told_b, _ = bench.connected()
    bench.create(a, 1, "/n")
    for number, (op, *arguments) in enumerate(
        ((Op.EXISTS, "/n", False), (Op.PING,), (Op.SYNC, "/"), (Op.ADD_WATCH, "/n", 0, -1)), 2
    ):
        bench.send(a, number, op, *arguments)
    bench.send(a, 6, Op.CREATE, "/n")  # refused before the log, in its turn all the same
    bench.send(a, 7, Op(17), "/n", 4)
    bench.engine.request(a, 8, 999, 1, (), bench.now, bench.wall)
    bench.send(b, 1, Op.EXISTS, "/n", False)
    assert told_a.take() == []
    assert told_b.take() == [("reply", 1, 2, -101, ())]
    bench.sync()
    assert replies(told_a.take()) == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, -1002), (7, 0), (8, -6)]


def test_a_read_between_two_writes_sees_the_first_and_not_the_second() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.create(a, 1, "/n")
    bench.send(a, 2, Op.GET_DATA, "/n", False)
    bench.send(a, 3, Op.SET_DATA, "/n", b"later", -1)
    bench.send(a, 4, Op.GET_DATA, "/n", False)
    bench.sync()
    reads = [entry[4][0] for entry in told.take() if entry[1] in (2, 4)]
    assert reads == [b"", b"later"]


def test_nothing_is_answered_before_it_is_durable() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    b, watcher, _ = bench.connected()
    bench.send(b, 1, Op.ADD_WATCH, "/", 1, -1)
    watcher.take()
    for number in range(1, 4):
        bench.create(a, number, f"/{number}")
    bench.take()
    bench.engine.committed(bench.logged - 1)
    assert replies(told.take()) == [(1, 0), (2, 0)]
    assert [entry[1] for entry in watcher.take()] == [3, 4]
    bench.send(b, 2, Op.EXISTS, "/3", False)
    assert replies(watcher.take()) == [(2, -101)]


def test_committed_records_are_applied_in_slices() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    for number in range(1, 11):
        bench.create(a, number, f"/{number}")
    bench.take()
    assert bench.engine.committed_slice(bench.logged, 6)
    assert len(told.entries) == 3  # a record costs one, and one for each event
    while bench.engine.committed_slice(bench.logged, 6):
        pass
    assert replies(told.take()) == [(number, 0) for number in range(1, 11)]


def test_too_many_outstanding_requests_are_refused() -> None:
    bench = Bench(outstanding_per_session=2)
    a, told, _ = bench.connected()
    for number in range(1, 5):
        bench.create(a, number, f"/{number}")
    bench.sync()
    assert replies(told.take()) == [(1, 0), (2, 0), (3, -1003), (4, -1003)]


def test_data_is_limited_and_the_limit_is_named() -> None:
    bench = Bench(znode_bytes=10)
    a, told, _ = bench.connected()
    bench.send(a, 1, Op.CREATE, "/n", b"x" * 11, None, 0, 0)
    bench.send(a, 2, Op.CREATE, "/n", b"x" * 10, None, 0, 0)
    bench.send(a, 3, Op.SET_DATA, "/n", b"x" * 11, -1)
    bench.sync()
    assert replies(told.take()) == [(1, -1001), (2, 0), (3, -1001)]


MALFORMED: tuple[tuple[int, tuple[Any, ...], int], ...] = (
    (Op.CREATE, (), -1002),
    (Op.CREATE, ("/n", "text", None, 0, 0), -1002),
    (Op.CREATE, ("/n", b"", [[31, "world"]], 0, 0), -1002),
    (Op.CREATE, ("/n", b"", "open", 0, 0), -1002),
    (Op.CREATE, ("/n", b"", None, True, 0), -1002),
    (Op.DELETE, ("/n", None), -1002),
    (Op.DELETE, (b"/n", -1), -1002),
    (Op.MULTI, ("no",), -1002),
    (Op.MULTI, ((1,),), -1002),
    (Op.MULTI, (((7, "/n", None, -1),),), -5),
    (Op.MULTI, (((1, "/n", b"", None, 9, 0),),), -5),
    (Op.GET_DATA, ("/n",), -1002),
    (Op.GET_DATA, ("/n", 1), -1002),
    (Op.ADD_WATCH, ("/n", 0), -1002),
    (Op.REMOVE_WATCHES, ("/n", 6), -5),
    (Op.CHECK, ("/n", -1), -6),
    (Op.CREATE_SESSION, (b"", 1), -6),
    (Op.DELETE_CONTAINER, ("/n", 1), -6),
    (Op.NOOP, (), -6),
)


@pytest.mark.parametrize(("op", "arguments", "error"), MALFORMED)
def test_a_bad_request_gets_its_error_and_never_reaches_the_log(op: Op, arguments: Any, error: int) -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.send(a, 1, op, *arguments)
    assert replies(told.take()) == [(1, error)]
    assert bench.take() == []


def test_a_read_that_fails_unforeseen_hurts_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    monkeypatch.setattr(bench.machine.tree, "nodes", None, raising=False)
    bench.send(a, 1, Op.GET_DATA, "/", False)
    bench.send(a, 2, Op.PING)
    assert replies(told.take()) == [(1, -1), (2, 0)]
    assert bench.engine.statistics().read_errors == 1


# -- what else there is -----------------------------------------------------------------------------------------------


def test_who_am_i_shows_users_not_hashes() -> None:
    bench = Bench()
    a, told, _ = bench.connected(identities=(Identity("ip", "::1"), Identity("digest", "ann:hash")))
    bench.send(a, 1, Op.WHO_AM_I)
    assert told.take()[0][4] == ((("ip", "::1"), ("digest", "ann")),)


def test_getephemerals_tells_the_sessions_own() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    b, _, _ = bench.connected()
    for number, path in enumerate(("/e1", "/e2", "/f"), 1):
        bench.create(a, number, path, mode=1)
    bench.create(b, 1, "/e-of-b", mode=1)
    bench.sync()
    told.take()
    bench.send(a, 4, Op.GET_EPHEMERALS, "/e")
    bench.send(a, 5, Op.GET_ALL_CHILDREN_NUMBER, "/")
    assert [entry[4] for entry in told.take()] == [(("/e1", "/e2"),), (7,)]


def test_containers_and_ttls_are_reaped_when_they_have_had_their_day() -> None:
    bench = Bench(container_check_ms=1_000, container_never_used_ms=60_000)
    a, _, _ = bench.connected(timeout_ms=10**9)
    bench.create(a, 1, "/used", mode=4)
    bench.create(a, 2, "/used/child")
    bench.create(a, 3, "/new", mode=4)
    bench.send(a, 4, Op.CREATE, "/ttl", b"", None, 5, 5_000)
    bench.send(a, 5, Op.CREATE, "/kept", b"", None, 5, 5_000)
    bench.create(a, 6, "/kept/child")
    bench.sync()
    there = {"/used", "/new", "/ttl", "/kept"}

    def after(milliseconds: int) -> set[str]:
        bench.send(a, bench.now, Op.PING)
        bench.pass_ms(milliseconds)
        bench.sync()
        return there & set(bench.machine.tree.nodes)

    assert after(0) == after(5_000) == there
    assert after(1_000) == there - {"/ttl"}
    bench.send(a, 10**9, Op.DELETE, "/used/child", -1)
    bench.sync()
    assert after(1_000) == {"/new", "/kept"}
    assert after(60_000) == {"/kept"}


def test_a_ttl_znode_set_while_the_reaper_looks_stays() -> None:
    bench = Bench(container_check_ms=1_000)
    a, _, _ = bench.connected()
    bench.send(a, 1, Op.CREATE, "/ttl", b"", None, 5, 5_000)
    bench.sync()
    bench.pass_ms(1)
    bench.send(a, 2, Op.SET_DATA, "/ttl", b"again", -1)
    bench.pass_ms(6_000)
    bench.sync()
    assert "/ttl" in bench.machine.tree.nodes


def test_listings_count_what_is_there() -> None:
    bench = Bench()
    a, _, _ = bench.connected()
    bench.create(a, 1, "/e", mode=1)
    bench.sync()
    bench.send(a, 2, Op.ADD_WATCH, "/e", 0, -1)
    bench.create(a, 3, "/f")
    bench.now += 7
    timeout_ms = bench.machine.sessions[FIRST_SESSION].timeout_ms
    assert list(bench.engine.expiries(bench.now)) == [(FIRST_SESSION, timeout_ms - 7)]
    assert bench.engine.expires_in(FIRST_SESSION + 1, bench.now) is None
    statistics = bench.engine.statistics()
    assert (statistics.sessions, statistics.attached, statistics.outstanding, statistics.proposals) == (1, 1, 1, 1)
    assert (statistics.watches, bench.engine.watches.summary()) == (1, (1, 1, 1))


def test_a_wall_clock_that_jumps_expires_nobody_and_keeps_nobody_alive() -> None:
    bench = Bench()
    attachment, told, welcome = bench.connected(timeout_ms=1_000)
    for jump in (10**9, -(10**10), 10**11):
        bench.wall += jump
        bench.pass_ms(300)
        bench.engine.touch(attachment, bench.now)
        bench.create(attachment, 1, "/e", mode=1)
        bench.sync()
    assert welcome.session_id in bench.machine.sessions
    told.take()
    bench.wall -= 10**12
    bench.pass_ms(1_001)
    bench.sync()
    assert not bench.machine.sessions
