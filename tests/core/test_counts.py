"""What is counted and listed for those who ask is not counted anew each time, and is right after every change."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bench import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tree_twin import CREATE
from twin_pair import BOB, Pair, steps

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state import descendants, tree
from coordserver.core.state.machine import Machine
from coordserver.core.state.tree import DataTree


def counted(state: DataTree, path: str) -> int:
    """One by one."""
    return sum(one.startswith(path.rstrip("/") + "/") for one in state.nodes) - (path == "/")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=5, max_size=30), st.integers(0, 10))
def test_counts_are_right_after_every_write_of_every_history(history: list[tuple[Any, ...]], asked_from: int) -> None:
    """Failed multis, which are undone, among them."""
    pair = Pair()
    for at, (session, who, command) in enumerate([(1, BOB, (CREATE, "/a", b"", None, 0, 0)), *history]):
        pair.step(session, who, command)
        state = pair.machine.tree
        if at >= asked_from:
            for path in state.nodes:
                assert state.count_below(path) == counted(state, path), path
            for owner in (1, 2):
                for prefix in ("", "/", "/a/", "/a/"):
                    mine = [path for path, node in state.nodes.items() if node.owner == owner]
                    assert state.ephemerals_of(owner, prefix) == tuple(p for p in mine if p.startswith(prefix))
        pair.machine.check_invariants()
    again = Machine.from_snapshot(pair.machine.snapshot_rows()).tree
    assert [again.count_below(path) for path in again.nodes] == [counted(again, path) for path in again.nodes]


def wide(children: int) -> Machine:
    """A znode with many children, and each of these with one."""
    state = Machine.new(bytes(range(16)))
    for path in ("/t", *(f"/t/{n}" for n in range(children)), *(f"/t/{n}/x" for n in range(children))):
        state.apply(state.index + 1, Record(int(Op.CREATE), 0, 0, 0, 0, (), (path, b"", None, 0, 0)))
    return state


def test_300_counts_over_many_znodes_walk_over_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = [0]

    class Walking(descendants.Descendants):
        def __init__(self, nodes: Any) -> None:
            walks[0] += 1
            super().__init__(nodes)

    monkeypatch.setattr(tree, "Descendants", Walking)
    bench = Bench(wide(1_000))
    a, told, _ = bench.connected()
    for number in range(1, 301):
        bench.send(a, number, Op.GET_ALL_CHILDREN_NUMBER, ("/t", "/t/5", "/", "/t/5/x")[number % 4])
        bench.create(a, 300 + number, f"/t/more{number}", acked=300 + number)
        bench.sync()
    answers = [entry[4][0] for entry in told.take() if entry[0] == "reply" and entry[1] <= 300]
    # The root, /zookeeper with its two, /t; a create lies between any two questions.
    assert answers == [[2_000 + at, 1, 2_004 + at, 0][(at + 1) % 4] for at in range(300)]
    assert walks[0] == 1


def test_a_tree_that_nobody_counts_in_keeps_no_counts() -> None:
    state = wide(10).tree
    assert state._descendants is None
    assert state.count_below("/t/5/x") == 0
    assert state.count_below("/") == len(state.nodes) - 1
    assert state._descendants is None


def test_ephemerals_are_the_same_tuple_until_they_change() -> None:
    bench = Bench()
    a, told, welcome = bench.connected()
    for number in range(1, 4):
        bench.create(a, number, f"/e{number}", mode=1)
    bench.sync()
    told.take()
    state = bench.machine.tree
    before = state.ephemerals_of(welcome.session_id, "/")
    assert before == ("/e1", "/e2", "/e3")
    bench.send(a, 4, Op.GET_EPHEMERALS, "/")
    assert told.take()[0][4][0] is before
    bench.send(a, 5, Op.DELETE, "/e2", -1)
    bench.sync()
    bench.send(a, 6, Op.GET_EPHEMERALS, "/")
    assert told.take()[1][4][0] == ("/e1", "/e3")
    bench.send(a, 7, Op.GET_EPHEMERALS, "/e3")
    assert told.take()[0][4][0] == ("/e3",)
