"""A large effect taken in slices is the effect taken at once, and nobody sees half of it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from engine_bench import Bench, Told, replies
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.acl import Identity
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.core.state.reads import PART_BYTES
from coordserver.core.state.subtree import STEPS
from coordserver.core.state.walk import StateWalk

OWNED = 3 * STEPS + 7
EPHEMERAL = 1
ANN = (Identity("digest", "ann:hash"),)
ANNS = ((31, "digest", "ann:hash"),)


class Keeping(Told):
    """A Sink that keeps the very objects of the events."""

    def __init__(self, kept: list[Any]) -> None:
        super().__init__()
        self.kept = kept

    def events(self, zxid: int, events: Sequence[tuple[int, str]]) -> None:
        self.kept.append(events)


def tree_of(random: Random, znodes: int) -> Machine:
    """Znodes at random below /t, some ephemeral, some whose children only Ann may delete."""
    machine = Machine.new(b"h" * 16)
    machine.apply(1, Record(int(Op.CREATE_SESSION), 1, 0, 0, 0, (), (b"p", 1000)))
    paths = ["/t"]
    for number in range(znodes):
        path = f"{random.choice(paths)}/{number}" if number else "/t"
        mode = EPHEMERAL if number and random.random() < 0.2 else 0
        acl = ANNS if random.random() < 0.02 else None
        machine.apply(machine.index + 1, Record(1, 1, 0, 0, 0, ANN, (path, b"12", acl, mode, 0)))
        if mode == 0 and path != "/t":
            paths.append(path)
    return machine


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 50), st.booleans())
def test_a_subtree_goes_children_first_in_parts_or_says_who_forbids_it(
    seed: int, znodes: int, limit: int, as_ann: bool
) -> None:
    machine = tree_of(Random(seed), znodes)
    who = ANN if as_ann else ()
    before = len(machine.tree.nodes)
    deleted = 0
    while True:
        state = list(machine.tree.nodes)
        outcome = machine.apply(machine.index + 1, Record(int(Op.DELETE_TREE), 1, 0, 0, 0, who, ("/t", limit)))
        machine.check_invariants()
        if outcome.error:
            assert not as_ann
            assert outcome.error == -102
            assert list(machine.tree.nodes) == state
            assert any(tuple(map(tuple, node.acl)) == ANNS for node in machine.tree.nodes.values())
            return
        count, finished = outcome.result
        gone = [path for _, path, _, _ in outcome.events]
        assert len(gone) == count <= limit
        assert set(state) - set(machine.tree.nodes) == set(gone)
        for at, path in enumerate(gone):
            assert not any(later.startswith(path + "/") for later in gone[at:]), "a child after its parent"
        deleted += count
        assert finished == ("/t" not in machine.tree.nodes)
        assert finished or count == limit
        if finished:
            break
    assert deleted == before - len(machine.tree.nodes)
    assert machine.system_errors == 0


def test_the_root_and_zookeepers_own_znodes_are_refused() -> None:
    bench = Bench()
    attachment, told, _ = bench.connected()
    for number, path in enumerate(("/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/a//b", "x"), 1):
        bench.send(attachment, number, Op.DELETE_TREE, path)
    bench.send(attachment, 9, Op.DELETE_TREE, "/none")
    bench.sync()
    assert [error for _, error in replies(told.take())] == [-8] * 6 + [-101]


def filled(bench: Bench, attachment: Any, base: str, mode: int) -> None:
    """More znodes than a slice."""
    bench.create(attachment, 1, base)
    for number in range(OWNED):
        bench.create(attachment, 2 + number, f"{base}/{number}", mode=mode, acked=2 + number)
        if number % 400 == 399:
            bench.sync()
    bench.sync()


@pytest.mark.parametrize("op", [Op.CLOSE_SESSION, Op.DELETE_TREE])
def test_between_the_slices_nothing_is_answered_and_after_them_everything(op: Op) -> None:
    bench = Bench()
    attachment, told, _ = bench.connected()
    filled(bench, attachment, "/b", EPHEMERAL if op is Op.CLOSE_SESSION else 0)
    other, heard, _ = bench.connected()
    gone, unheard, _ = bench.connected()
    reader, read, _ = bench.connected()
    for who in (other, gone):
        bench.send(who, 1, Op.ADD_WATCH, "/b", 1, -1)
        bench.send(who, 2, Op.GET_DATA, "/b/3", True)
    told.take(), heard.take(), unheard.take()
    zxid = bench.machine.zxid
    if op is Op.CLOSE_SESSION:
        bench.send(attachment, 5000, op, acked=5000)
    else:
        bench.send(attachment, 5000, op, "/b", acked=5000)
    bench.send(attachment, 5001, Op.EXISTS, "/b/0", False)
    bench.create(other, 3, "/after")
    bench.take()
    slices = 0
    own: list[Any] = []
    while bench.engine.committed_slice(bench.logged, 256):
        own += told.take()
        if own:
            continue
        slices += 1
        bench.send(other, 10 + slices, Op.EXISTS, "/b/0", False)
        bench.send(other, 1000 + slices, Op.MULTI, "nonsense")
        bench.engine.refuse(reader, 1000 + slices, -8, "refused")
        bench.send(reader, slices, Op.EXISTS, "/b/0", False)
        assert [entry for entry in heard.take() + read.take() if entry[0] == "reply"] == []
        if slices == 2:
            bench.engine.detach(gone, bench.now)
        bench.pass_ms(1)
    assert slices > 2 * OWNED // STEPS
    entries = heard.take()
    answers = [entry for entry in entries if entry[0] == "reply"]
    # in the order sent: the create was first
    assert [entry[1] for entry in answers] == [3] + [n for at in range(1, slices + 1) for n in (10 + at, 1000 + at)]
    assert {(entry[2], entry[3]) for entry in answers[1::2]} == {(zxid + 2, -101)}
    assert [entry[1:4] for entry in read.take()] == [
        answer for at in range(1, slices + 1) for answer in ((1000 + at, zxid + 1, -8), (at, zxid + 1, -101))
    ]
    own = [entry for entry in own + told.take() if entry[0] == "reply"]
    assert own[0][:4] == ("reply", 5000, zxid + 1, 0)
    if op is Op.DELETE_TREE:
        assert own[0][4] == (OWNED + 1, True)
        assert own[1][:4] == ("reply", 5001, zxid + 1, -101)
    assert not bench.machine.tree.ephemerals
    bench.machine.check_invariants()
    assert unheard.take() == []


def test_what_was_heard_is_one_frame_before_the_answer_and_the_same_for_all() -> None:
    bench = Bench()
    attachment, _, _ = bench.connected()
    filled(bench, attachment, "/b", EPHEMERAL)
    watchers = [bench.connected() for _ in range(3)]
    for who, _, _ in watchers:
        bench.send(who, 1, Op.ADD_WATCH, "/b", 1, -1)
    kept: list[Any] = []
    for who, _, _ in watchers:
        who.sink = Keeping(kept)
    bench.send(attachment, 5000, Op.CLOSE_SESSION, acked=5000)
    bench.sync()
    assert len(kept) == 3
    assert kept[0] is kept[1] is kept[2]
    assert kept[0] == tuple((2, f"/b/{number}") for number in range(OWNED))


@pytest.mark.parametrize("op", [Op.CLOSE_SESSION, Op.DELETE_TREE])
def test_slices_come_to_what_a_replay_comes_to(op: Op) -> None:
    live = Bench()
    attachment, _, _ = live.connected()
    filled(live, attachment, "/b", EPHEMERAL)
    again = Machine.from_snapshot(live.machine.snapshot_rows())
    arguments = () if op is Op.CLOSE_SESSION else ("/b",)
    live.send(attachment, 5000, op, *arguments, acked=5000)
    for record in live.sync():
        again.apply(again.index + 1, record)
    assert again.digest() == live.machine.digest()


def test_an_unforeseen_failure_in_a_slice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    attachment, told, _ = bench.connected()
    filled(bench, attachment, "/b", EPHEMERAL)
    told.take()
    before = sorted(row[1:] for row in bench.machine.snapshot_rows() if row[0] == "znode")
    fails_at = f"/b/{2 * STEPS}"
    remove = type(bench.machine.tree).remove

    def failing(tree: Any, path: str, *rest: Any) -> None:
        if path == fails_at:
            raise RuntimeError(path)
        remove(tree, path, *rest)

    monkeypatch.setattr(type(bench.machine.tree), "remove", failing)
    bench.send(attachment, 5000, Op.CLOSE_SESSION, acked=5000)
    bench.sync()
    assert replies(told.take()) == [(5000, -1)]
    assert bench.machine.system_errors == 1
    assert sorted(row[1:] for row in bench.machine.snapshot_rows() if row[0] == "znode") == before
    bench.machine.check_invariants()


def test_a_close_with_an_acknowledged_number_closes_nothing() -> None:
    bench = Bench()
    attachment, _, _ = bench.connected()
    filled(bench, attachment, "/b", EPHEMERAL)
    record = Record(int(Op.CLOSE_SESSION), attachment.session_id, 3, 3, 0, (), ())
    outcome = bench.machine.apply(bench.machine.index + 1, record)
    assert outcome.duplicate
    assert attachment.session_id in bench.machine.sessions


def test_a_multi_of_too_many_operations_is_refused() -> None:
    bench = Bench(multi_operations=3)
    attachment, told, _ = bench.connected()
    part = (int(Op.CHECK), "/", -1)
    bench.send(attachment, 1, Op.MULTI, (part,) * 3)
    bench.send(attachment, 2, Op.MULTI, (part,) * 4)
    bench.sync()
    assert replies(told.take()) == [(1, 0), (2, -1007)]


def test_a_walk_begins_only_at_whole_records() -> None:
    """The committer finishes what is half applied by asking for the slices of the last record alone."""
    bench = Bench()
    attachment, _, _ = bench.connected()
    filled(bench, attachment, "/b", EPHEMERAL)
    bench.send(attachment, 5000, Op.CLOSE_SESSION, acked=5000)
    bench.create(attachment, 5001, "/after", acked=5000)
    bench.take()
    index = bench.machine.index
    assert bench.engine.committed_slice(bench.logged, 1)
    while bench.engine.committed_slice(index, 1):
        pass
    assert bench.machine.index == index + 1
    assert not bench.machine.sessions
    walk = StateWalk(bench.machine)
    while walk.gather(100):
        pass
    assert list(walk.rows()) == list(bench.machine.snapshot_rows())
    walk.close()


SESSIONS = 40
BIG = 100_000


@pytest.mark.parametrize("behind", ["writes", "a large record"])
def test_large_reads_that_waited_are_answered_over_many_slices(behind: str) -> None:
    bench = Bench()
    closer, _, _ = bench.connected()
    filled(bench, closer, "/b", EPHEMERAL)
    bench.send(closer, 4000, Op.SET_DATA, "/b", b"x" * BIG, -1)
    readers = [bench.connected() for _ in range(SESSIONS)]
    bench.sync()
    if behind == "a large record":
        bench.send(closer, 5000, Op.CLOSE_SESSION, acked=5000)
        bench.take()
        assert bench.engine.committed_slice(bench.logged, 256)
    for reader, told, _ in readers:
        told.take()
        if behind == "writes":
            bench.create(reader, 1, f"/{reader.session_id}")
        bench.send(reader, 2, Op.GET_DATA, "/b", False)
    bench.take()
    most = answered = 0
    more = True
    while more:
        more = bench.engine.committed_slice(bench.logged, 256)
        now = sum(1 for _, told, _ in readers for _, number, *_ in told.take() if number == 2)
        most, answered = max(most, now), answered + now
    assert answered == SESSIONS
    assert most <= 256 * 4096 // BIG + 1


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        (Op.MULTI_READ, (((int(Op.GET_DATA), "/missing"),) * 1_000,)),
        (
            Op.SET_WATCHES,
            (0, ("/missing",) * 200, ("/missing",) * 200, ("/missing",) * 200, ("/a",) * 200, ("/b",) * 200),
        ),
    ],
)
def test_requests_of_many_parts_that_wait_count_though_their_answers_are_short(
    op: Op, arguments: tuple[Any, ...]
) -> None:
    bench = Bench()
    attachment, _, _ = bench.connected()
    live = attachment.live
    assert live is not None
    bench.create(attachment, 1, "/a")
    bench.send(attachment, 2, op, *arguments)
    assert live.awaited == 1_000 * PART_BYTES
    bench.sync()
    assert live.awaited == 0
