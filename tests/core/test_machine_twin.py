"""The machine and a naive twin live through the same histories and must agree on every answer and every Stat."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tree_twin import CHECK, CREATE, DELETE, MULTI
from twin_pair import BOB, Pair, steps

from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine


def again(machine: Machine) -> Machine:
    """The machine out of its own snapshot; equal to the bit."""
    other = Machine.from_snapshot(machine.snapshot_rows())
    assert other.digest() == machine.digest()
    assert list(other.snapshot_rows()) == list(machine.snapshot_rows())
    other.check_invariants()
    return other


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=5, max_size=40), st.integers(0, 40))
@example([(1, BOB, (CREATE, "//x", b"", None, 0, 0))], 0)
@example([(1, BOB, (CREATE, "//", b"", None, 2, 0))], 0)
@example([(1, BOB, (CREATE, "/", b"", None, 2, 0)), (1, BOB, (CREATE, "/", b"", None, 0, 0))], 0)
def test_every_history_is_the_twins(history: list[tuple[Any, ...]], restart: int) -> None:
    pair = Pair()
    for at, (session, who, command) in enumerate(history):
        if at == restart:
            pair.machine = again(pair.machine)  # what a snapshot keeps must do for everything that follows
        pair.step(session, who, command)
    pair.compare()
    again(pair.machine)


def test_sequence_numbers_come_from_the_count_of_creates() -> None:
    """Shared by all prefixes and plain names; deletes do not change it; a failed multi gives its numbers back."""
    pair = Pair()

    def made(path: str, mode: int) -> str:
        pair.step(1, BOB, (CREATE, path, b"", None, mode, 0))
        return list(pair.machine.tree.nodes)[-1]

    made("/q", 0)
    assert made("/q/a-", 2) == "/q/a-0000000000"
    made("/q/plain", 0)
    assert made("/q/b-", 3) == "/q/b-0000000002"
    pair.step(1, BOB, (DELETE, "/q/plain", -1))
    sequential = (CREATE, "/q/m-", b"", None, 2, 0)
    pair.step(1, BOB, (MULTI, (sequential, sequential, (CHECK, "/none", -1))))
    pair.step(1, BOB, (MULTI, (sequential, sequential)))
    assert list(pair.machine.tree.nodes)[-2:] == ["/q/m-0000000003", "/q/m-0000000004"]
    assert made("/q/", 2) == "/q/0000000005"
    pair.compare()


def test_the_last_sequence_number_is_followed_by_an_error_of_its_own() -> None:
    machine = Machine.new(b"h" * 16)
    create = (1, 0, 0, 0, 0, ())
    machine.apply(1, Record(*create, ("/q", b"", None, 0, 0)))
    machine.tree.nodes["/q"].creates = 0x7FFFFFFF
    last = machine.apply(2, Record(*create, ("/q/x-", b"", None, 2, 0)))
    assert last.result[0] == "/q/x-2147483647"
    over = machine.apply(3, Record(*create, ("/q/x-", b"", None, 2, 0)))
    assert (over.error, over.zxid) == (-1005, 3)
    machine.check_invariants()


def test_versions_and_cversion_wrap_as_32_bit_numbers_and_never_to_minus_one() -> None:
    machine = Machine.new(b"h" * 16)
    machine.apply(1, Record(1, 0, 0, 0, 0, (), ("/v", b"", None, 0, 0)))
    node = machine.tree.nodes["/v"]
    for before, after in ((0x7FFFFFFE, 0x7FFFFFFF), (0x7FFFFFFF, -0x80000000), (-2, 0)):
        node.version = before
        node.touch()
        outcome = machine.apply(machine.index + 1, Record(5, 0, 0, 0, 0, (), ("/v", b"", before)))
        assert outcome.result[0].version == after
    node.creates = 0x40000000
    node.touch()
    assert node.stat().cversion == -0x80000000


def test_a_command_that_fails_unforeseen_changes_nothing_and_is_counted() -> None:
    machine = Machine.new(b"h" * 16)
    machine.apply(1, Record(-10, 1, 0, 0, 0, (), (b"p", 1000)))
    before = list(machine.snapshot_rows())
    parts = ((1, ("/x", b"", None, 0, 0)), (99, ()))
    outcome = machine.apply(2, Record(MULTI, 1, 0, 0, 0, (), (parts,)))
    assert (outcome.error, outcome.events, machine.system_errors) == (-1, (), 1)
    assert list(machine.snapshot_rows())[1:] == before[1:]
    machine.check_invariants()
