"""Long work in short steps, so that an event loop can let others in between.

Work is a generator that yields after each few milliseconds and returns its result. Whoever has no loop runs it through;
whoever has one takes turns with the others. Sorting is the one long step that cannot be cut as it is, so it is done as
runs that are sorted each and then merged.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

import trio

T = TypeVar("T")
Steps = Generator[None, None, T]

ROWS_AT_ONCE = 500  # some 2 ms of Python for rows of a few columns


def run_through(steps: Steps[T]) -> T:
    """The result, in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def take_turns(steps: Steps[T]) -> T:
    """The result; a checkpoint after each step."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await trio.lowlevel.checkpoint()


def collect(items: Iterable[T]) -> Steps[list[T]]:
    """A list of what an iterator makes."""
    found: list[T] = []
    rest = iter(items)
    while batch := list(islice(rest, ROWS_AT_ONCE)):
        found += batch
        yield
    return found


def sort(rows: Sequence[T], key: Callable[[T], Any], *, reverse: bool = False) -> Steps[list[T]]:
    """`sorted`, stable as it is."""
    if len(rows) <= ROWS_AT_ONCE:
        return sorted(rows, key=key, reverse=reverse)
    runs = []
    for run in slices(rows):
        runs.append(sorted(run, key=key, reverse=reverse))
        yield
    return (yield from collect(merge(*runs, key=key, reverse=reverse)))


def slices(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """The rows, some at a time."""
    return (rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE))
