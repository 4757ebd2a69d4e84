"""Bounded output: wakes once, marks instead of raising, keeps the order."""

from __future__ import annotations

from coordserver.wire.output import Output


def make(soft: int = 10, hard: int = 20) -> tuple[Output, list[int]]:
    wakes: list[int] = []
    return Output(lambda: wakes.append(1), soft=soft, hard=hard), wakes


def test_wakes_once_until_looked_at() -> None:
    output, wakes = make()
    output.write(b"a")
    output.write(b"b")
    output.finish()
    assert len(wakes) == 1
    output.looked()
    output.wake()
    assert len(wakes) == 2


def test_one_long_answer_passes_the_second_overflows() -> None:
    output, _ = make()
    output.write(b"x" * 1000)
    assert output.crowded
    assert not output.overflowed
    output.write(b"y")
    assert output.overflowed
    assert not output.pending


def test_nothing_follows_the_end() -> None:
    output, _ = make()
    output.write(b"last")
    output.finish()
    output.write(b"late")
    assert bytes(output.pending) == b"last"


def test_memory_of_what_was_sent_is_given_back() -> None:
    output, _ = make()
    output.write(bytes(10_000_000))
    kept = output.pending
    del kept[:4_000_000]
    assert kept.__alloc__() >= 10_000_000
    output.compact()
    assert len(output.pending) == 6_000_000
    assert output.pending.__alloc__() < 6_100_000


def test_a_closed_connection_keeps_nothing_and_wakes_nobody() -> None:
    output, wakes = make()
    output.write(b"x")
    output.looked()
    output.discard()
    output.write(b"late")
    output.wake()
    assert output.finished
    assert not output.pending
    assert len(wakes) == 1
