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
