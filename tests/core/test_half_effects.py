"""A write has its whole effect or none, whatever goes wrong and wherever: an exception is planted at each step of each.

Java's numbers are what ZooKeeper reads in stored bytes, so they bound what is read here.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from engine_bench import Bench, Told, replies

from coordserver.core.model import access
from coordserver.core.model.acl import Identity
from coordserver.core.model.errors import BadArgumentsError
from coordserver.core.model.operations import OPERATIONS, RECORDED_AS, Kind, Op
from coordserver.core.model.records import Record
from coordserver.core.serving import expiry, large_records
from coordserver.core.serving.large_records import in_slices
from coordserver.core.serving.watches import WatchManager
from coordserver.core.state import machine, mutations, quotas, subtree, tree
from coordserver.core.state.machine import Machine

WHO = (Identity("ip", "127.0.0.1"), Identity("digest", "ann:hash"))
ANNS = ((31, "digest", "ann:hash"),)
SESSION = 1
NINES = b"count=" + b"9" * 4_300
FILES = frozenset(module.__file__ for module in (mutations, quotas, subtree, tree))
OUTSIDE = frozenset({"apply", "__init__"})  # what is done before a command begins to change anything


def record(op: Op, *arguments: Any, session: int = SESSION) -> Record:
    """A record of the one session that the tests have."""
    return Record(int(op), session, 0, 0, 5_000, WHO, arguments)


MULTI = (
    (int(Op.CREATE), ("/q/m", b"12", None, 0, 0)),
    (int(Op.SET_DATA), ("/q/m", b"345", 0)),
    (int(Op.CREATE), ("/q/m/e-", b"1", ANNS, 3, 0)),
    (int(Op.DELETE), ("/q/m/e-0000000000", 0)),
    (int(Op.CHECK), ("/q", -1)),
)
WRITES: dict[str, Record] = {
    "create": record(Op.CREATE, "/q/new", b"12", None, 0, 0),
    "create, ephemeral and sequential": record(Op.CREATE, "/q/e-", b"12", ANNS, 3, 0),
    "create, first child": record(Op.CREATE, "/q/leaf/child", b"", None, 0, 0),
    "create, container": record(Op.CREATE, "/q/container2", b"", None, 4, 0),
    "create, TTL": record(Op.CREATE, "/q/ttl2", b"1", None, 5, 50),
    "create, limits of a quota": record(Op.CREATE, "/zookeeper/quota/r/zookeeper_limits", b"count=1", None, 0, 0),
    "create, totals of a quota": record(Op.CREATE, "/zookeeper/quota/r/zookeeper_stats", b"", None, 0, 0),
    "delete": record(Op.DELETE, "/q/leaf", -1),
    "delete, ephemeral": record(Op.DELETE, "/q/mine", -1),
    "delete, limits of a quota": record(Op.DELETE, "/zookeeper/quota/q/zookeeper_limits", -1),
    "set data": record(Op.SET_DATA, "/q/leaf", b"longer than it was", -1),
    "set data, null": record(Op.SET_DATA, "/q/leaf", None, -1),
    "set ACL": record(Op.SET_ACL, "/q/leaf", ANNS, -1),
    "multi": record(Op.MULTI, MULTI),
    "delete tree": record(Op.DELETE_TREE, "/q", 100),
    "delete tree, a part": record(Op.DELETE_TREE, "/q", 3),
    "delete container": record(Op.DELETE_CONTAINER, "/q/container", 0, session=0),
    "delete container, TTL": record(Op.DELETE_CONTAINER, "/q/ttl", 0, session=0),
    "create session": record(Op.CREATE_SESSION, b"p" * 16, 9_000, session=2),
    "resume session": record(Op.RESUME_SESSION, 9_000, 2),
    "close session": record(Op.CLOSE_SESSION),
    "configure": record(Op.CONFIGURE, True, session=0),
}
LARGE = ("close session", "delete tree", "delete tree, a part")


def with_a_tree() -> Machine:
    """A session with ephemerals, a quota with totals, one without, a container and a TTL znode."""
    state = Machine.new(b"h" * 16)
    state.apply(1, record(Op.CREATE_SESSION, b"p" * 16, 10_000))
    for path, mode in (
        *(("/q", 0), ("/r", 0), ("/r/x", 0), ("/q/leaf", 0), ("/q/mine", 1), ("/q/mine too", 1), ("/q/container", 4)),
        *(("/q/d", 0), ("/q/d/e", 0), ("/q/d/e/f", 0), ("/q/d/g", 1)),
        *(("/zookeeper/quota/q", 0), ("/zookeeper/quota/r", 0), ("/zookeeper/quota/q/zookeeper_limits", 0)),
        ("/zookeeper/quota/q/zookeeper_stats", 0),
    ):
        state.apply(state.index + 1, record(Op.CREATE, path, b"count=10", None, mode, 0))
    state.apply(state.index + 1, record(Op.CREATE, "/q/ttl", b"", None, 5, 10))
    return state


def settled(write: Record, state: Machine) -> Record:
    """The write; the reaper's carry the mzxid that it saw."""
    if write.op != Op.DELETE_CONTAINER:
        return write
    path = write.arguments[0]
    return write._replace(arguments=(path, state.tree.nodes[path].mzxid), wall_ms=9_000)


def told(state: Machine) -> list[Any]:
    """All that a state holds but its counters. What was deleted and put back lies behind its siblings, as ever."""
    _, *rows = state.snapshot_rows()
    return [*sorted(map(repr, rows)), sorted(state.tree.quotas.limited), state.tree.quotas.enforced]


class Planted(Exception):
    """What nobody foresaw."""


@contextmanager
def planted(at: int, fault: Exception) -> Iterator[list[int]]:
    """Raise `fault` at the step `at` of those that change something; the list says how many were begun."""
    steps = [0]

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_name in OUTSIDE:
            return None
        if code.co_filename not in FILES and (code.co_filename != machine.__file__ or code.co_name[0] != "_"):
            return None
        if event in ("line", "return"):
            if steps[0] == at:
                sys.settrace(None)
                steps[0] += 1
                raise fault
            steps[0] += 1
        return step

    before = sys.gettrace()
    gc.disable()  # a generator of the time before that ends now would be met on its way
    sys.settrace(step)
    try:
        yield steps
    finally:
        sys.settrace(before)
        gc.enable()


def applied(state: Machine, write: Record) -> Any:
    """At once."""
    return state.apply(state.index + 1, write)


def sliced(state: Machine, write: Record) -> Any:
    """A step at a time."""
    outcomes: list[Any] = []
    for _ in in_slices(state, WatchManager(), write, outcomes.append):
        pass
    [outcome] = outcomes
    return outcome


CASES = [(name, applied) for name in WRITES] + [(name, sliced) for name in LARGE]


@pytest.mark.parametrize(("name", "how"), CASES, ids=[f"{name}, {how.__name__}" for name, how in CASES])
@pytest.mark.parametrize("fault", [Planted, BadArgumentsError])
def test_a_write_that_fails_at_any_step_has_no_effect_and_the_next_has_its_own(
    name: str, how: Callable[[Machine, Record], Any], fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (subtree, large_records):
        monkeypatch.setattr(module, "STEPS", 2)
    unharmed = with_a_tree()
    before = told(unharmed)
    write = settled(WRITES[name], unharmed)
    clean = how(unharmed, write)
    assert clean.error == 0
    after = told(unharmed)
    assert after != before
    at = 0
    while True:
        state = with_a_tree()
        with planted(at, fault()) as steps:
            outcome = how(state, write)
        if steps[0] <= at:
            break
        failed = outcome.error or outcome.result[0][-1] != (0,)  # a multi tells in its results
        assert failed, at
        assert outcome.events == ()
        assert told(state) == before, at
        state.check_invariants()
        assert state.index == with_a_tree().index + 1
        # What comes next: the zxid has moved on, so that is all that may differ.
        again = how(state, write)
        assert (again.error, len(again.events)) == (0, len(clean.events)), at
        state.check_invariants()
        at += 1
    assert at > 0
    assert told(state) == after
    assert state.system_errors == 0


def test_the_writes_tried_are_all_there_are() -> None:
    tried = {write.op for write in WRITES.values()}
    recorded = {RECORDED_AS.get(op, op) for op, row in OPERATIONS.items() if row.kind is not Kind.READ}
    assert recorded - tried == {Op.CHECK, Op.NOOP, Op.ERROR}


# -- stored numbers ---------------------------------------------------------------------------------------------------


def quota_bench(stats: bytes) -> tuple[Bench, Any, Any]:
    """An engine whose `/q` has a quota with these totals."""
    bench = Bench()
    a, told_, _ = bench.connected()
    at = 0
    for path in (
        *("/q", "/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits"),
        "/zookeeper/quota/q/zookeeper_stats",
    ):
        at += 1
        bench.create(a, at, path)
    bench.send(a, at + 1, Op.SET_DATA, "/zookeeper/quota/q/zookeeper_stats", stats, -1)
    bench.sync()
    told_.take()
    return bench, a, told_


@pytest.mark.parametrize(
    ("stats", "count"),
    [
        (NINES, 1),
        (b"count=" + b"9" * 5_000, 1),
        (b"count=9223372036854775808", 1),
        (b"count=-9223372036854775809", 1),
        (b"count=9223372036854775807", -(2**63)),
        (b"count=-9223372036854775808", -(2**63) + 1),
        (b"count=+5", 6),
        (b"count=1_0", 1),
        (b"count= 5", 1),
        ("count=٣".encode(), 4),
        (b"count=5=", 6),
        (b"count=", 1),
        (b"\xff", 1),
    ],
)
def test_totals_of_a_quota_are_java_s_longs(stats: bytes, count: int) -> None:
    """Long.parseLong takes a sign and digits of any script, and no more; what it refuses counts from nothing."""
    bench, a, told_ = quota_bench(stats)
    bench.create(a, 9, "/q/x")
    bench.sync()
    assert replies(told_.take()) == [(9, 0)]
    data = bench.machine.tree.nodes["/zookeeper/quota/q/zookeeper_stats"].data
    assert data is not None
    assert data.split(b",")[0] == b"count=%d" % count
    assert bench.machine.system_errors == 0
    bench.machine.check_invariants()


def test_a_session_under_a_quota_whose_totals_are_nonsense_ends() -> None:
    bench, a, _ = quota_bench(b"")
    bench.create(a, 9, "/q/lock", mode=1)
    bench.send(a, 10, Op.SET_DATA, "/zookeeper/quota/q/zookeeper_stats", NINES, -1)
    bench.sync()
    bench.engine.detach(a, bench.now)
    bench.pass_ms(10_000)
    bench.sync()
    assert "/q/lock" not in bench.machine.tree.nodes
    assert bench.machine.sessions == {}


@pytest.mark.parametrize("bits", ["1" * 5_000, "33", "-1", "1_6", " 8", ""])
def test_a_network_of_too_many_bits_is_an_acl_that_is_not_legal(bits: str) -> None:
    bench = Bench()
    a, told_, _ = bench.connected()
    bench.send(a, 1, Op.CREATE, "/a", b"", ((31, "ip", f"10.0.0.0/{bits}"),), 0, 0)
    bench.sync()
    assert replies(told_.take()) == [(1, -114)]


@pytest.mark.parametrize("perms", [2**31, -(2**31) - 1, 2**63])
def test_permissions_are_java_s_ints(perms: int) -> None:
    bench = Bench()
    a, told_, _ = bench.connected()
    bench.send(a, 1, Op.CREATE, "/a", b"", ((perms, "world", "anyone"),), 0, 0)
    bench.sync()
    assert replies(told_.take()) == [(1, -114)]


def test_the_version_of_an_acl_wraps_as_a_32_bit_number() -> None:
    state = with_a_tree()
    node = state.tree.nodes["/q/leaf"]
    node.aversion = 0x7FFFFFFF
    outcome = applied(state, record(Op.SET_ACL, "/q/leaf", None, -1))
    assert (outcome.error, outcome.result[0].aversion) == (0, -0x80000000)


def test_a_request_that_cannot_be_judged_is_answered_and_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> None:
        raise Planted

    bench = Bench()
    a, told_, _ = bench.connected()
    monkeypatch.setattr(access, "parse_ip", broken)
    bench.send(a, 1, Op.CREATE, "/a", b"", ((31, "ip", "10.0.0.0"),), 0, 0)
    bench.create(a, 2, "/b")
    bench.sync()
    assert replies(told_.take()) == [(1, -1), (2, 0)]
    assert bench.engine.statistics().read_errors == 1


def test_a_reply_that_cannot_be_told_is_not_told_twice() -> None:
    class Deaf(Told):
        def reply(self, number: int, zxid: int, op: int, error: int, result: tuple[Any, ...], detail: str) -> None:
            self.entries.append((number, error))
            raise Planted

    bench = Bench()
    a, _, _ = bench.connected()
    a.sink = sink = Deaf()
    with pytest.raises(Planted):
        bench.send(a, 1, Op.EXISTS, "/", False)
    assert sink.entries == [(1, 0)]


# -- an expiry that failed --------------------------------------------------------------------------------------------


def test_an_expiry_that_failed_is_tried_again_later_and_later_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    a, _, welcome = bench.connected()
    bench.create(a, 1, "/lock", mode=1)
    bench.sync()
    bench.engine.detach(a, bench.now)

    def broken(*arguments: Any) -> Any:
        raise Planted

    tries: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(machine, "delete_ephemerals", broken)
        for second in range(200):
            bench.pass_ms(1_000)
            tries += [second for one in bench.sync() if one.op == Op.CLOSE_SESSION]
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert bench.engine.statistics().expiries_failed == len(tries)
    assert bench.engine.statistics().expired == 0
    assert "/lock" in bench.machine.tree.nodes
    # It is one that may yet be resumed, and lives as long as it is heard of.
    b, _, again = bench.connected(welcome.session_id)
    assert again.error == 0
    for _ in range(100):
        bench.pass_ms(1_000)
        bench.engine.touch(b, bench.now)
        assert bench.sync() == []
    bench.engine.detach(b, bench.now)
    bench.pass_ms(10_000)
    bench.sync()
    assert bench.machine.sessions == {}
    assert "/lock" not in bench.machine.tree.nodes
    assert bench.engine.statistics().expired == 1
    assert expiry.RETRY_MS_MAX == 60_000
