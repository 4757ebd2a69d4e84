"""Whatever happens while the state is read in slices, what is read is the state at which the reading began."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twin_pair import Pair, steps

from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.core.state.ring import EventRing
from coordserver.core.state.walk import StateWalk

CREATE, DELETE, SET, MULTI = 1, 2, 5, 14
LIMITS = b"count=-1,bytes=-1"


def begun(machine: Machine, slices: int = 3) -> StateWalk:
    """A walk whose paths are noted."""
    walk = StateWalk(machine)
    while walk.gather(slices):
        pass
    return walk


def quota(pair: Pair) -> None:
    """A quota over /a, so that its totals change with what is below."""
    for path, data in (
        ("/zookeeper/quota/a", b""),
        ("/zookeeper/quota/a/zookeeper_limits", LIMITS),
        ("/zookeeper/quota/a/zookeeper_stats", b""),
    ):
        record = Record(CREATE, 1, 0, 0, pair.wall, (), (path, data, None, 0, 0))
        pair.machine.apply(pair.machine.index + 1, record)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(steps, st.integers(0, 4)), min_size=10, max_size=60),
    st.integers(0, 30),
    st.integers(1, 5),
    st.booleans(),
)
def test_what_is_read_between_the_writes_is_the_state_at_the_beginning(
    history: list[tuple[tuple[Any, ...], int]], begin: int, slices: int, with_quota: bool
) -> None:
    pair = Pair()
    machine = pair.machine
    machine.ring = EventRing(20)
    walk: StateWalk | None = None
    read: list[tuple[Any, ...]] = []
    expected: list[tuple[Any, ...]] = []
    for at, ((session, who, command), taken) in enumerate(history):
        if at == begin:
            if with_quota:
                quota(pair)
            expected = list(machine.snapshot_rows())
            walk = begun(machine, slices)
            rows = walk.rows()
        if with_quota and walk is not None:
            op, *rest = command
            arguments = pair._named(rest[0], 0) if rest else "/"
            if op == SET and isinstance(arguments, str):
                machine.apply(machine.index + 1, Record(SET, session, at + 1, 1, 0, who, (arguments, b"new", -1)))
            elif op == MULTI:
                parts = ((CREATE, ("/a/m", b"1", None, 0, 0)), (DELETE, ("/a/m", -1)), (DELETE, ("/none", -1)))
                machine.apply(machine.index + 1, Record(MULTI, session, at + 1, 1, 0, who, (parts,)))
            else:
                made = ("/a", b"") if at % 2 else ("/a/x", b"123")
                machine.apply(machine.index + 1, Record(CREATE, session, at + 1, 1, 0, who, (*made, None, at % 3, 0)))
        else:
            pair.step(session, who, command)
        if walk is not None:
            read += islice(rows, taken)
    if walk is None:
        return
    read += rows
    walk.close()
    assert read == expected
    assert walk.saved_bytes == 0
    machine.check_invariants()


def test_one_walk_at_a_time_and_none_while_the_machine_goes_on() -> None:
    machine = Machine.new(b"h" * 16)
    walk = StateWalk(machine)
    with pytest.raises(RuntimeError, match="one walk"):
        StateWalk(machine)
    machine.apply(1, Record(CREATE, 0, 0, 0, 0, (), ("/a", b"", None, 0, 0)))
    with pytest.raises(RuntimeError, match="went on"):
        walk.gather(1)
    walk.close()
    again = begun(machine)
    assert list(again.rows()) == list(machine.snapshot_rows())
    again.close()


def test_what_is_behind_the_walk_or_new_is_not_saved() -> None:
    machine = Machine.new(b"h" * 16)
    for at in range(1, 101):
        machine.apply(at, Record(CREATE, 0, 0, 0, 0, (), (f"/n{at}", b"x" * 100, None, 0, 0)))
    walk = begun(machine)
    rows = walk.rows()
    assert len(list(islice(rows, 55))) == 55  # the header, the root and three system znodes, and fifty
    for at in range(1, 51):
        machine.apply(machine.index + 1, Record(SET, 0, 0, 0, 0, (), (f"/n{at}", b"", -1)))
    machine.apply(machine.index + 1, Record(CREATE, 0, 0, 0, 0, (), ("/new", b"", None, 0, 0)))
    machine.apply(machine.index + 1, Record(SET, 0, 0, 0, 0, (), ("/new", b"1", -1)))
    assert walk.saved_bytes == 0
    machine.apply(machine.index + 1, Record(SET, 0, 0, 0, 0, (), ("/n100", b"", -1)))
    held = walk.saved_bytes
    machine.apply(machine.index + 1, Record(SET, 0, 0, 0, 0, (), ("/n100", b"1", -1)))
    assert walk.saved_bytes == held > 100
    assert len(list(rows)) == 50 + 2  # the rest, and the events, 64 in a row
    assert walk.saved_bytes == 0
    walk.close()
