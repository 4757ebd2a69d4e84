"""Revisions and deltas."""

from __future__ import annotations

import trio
import trio.testing

from druidroles.coordination.changes import Delta, Deltas, Revision


async def test_everybody_hears_of_a_change() -> None:
    revision = Revision()
    heard: list[int] = []

    async def wait() -> None:
        heard.append(await revision.passed())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        revision.bump()
    assert heard == [1, 1]
    revision.bump()
    assert await revision.passed(1) == 2  # what came meanwhile is not waited for


def test_what_comes_and_goes_in_between_is_never_told() -> None:
    deltas: Deltas[str, int] = Deltas()
    deltas.put("stays", None, 1)
    deltas.put("comes and goes", None, 1)
    deltas.put("comes and goes", 1, None)
    deltas.put("goes and comes", 1, None)
    deltas.put("goes and comes", None, 1)
    deltas.put("changes twice", 1, 2)
    deltas.put("changes twice", 2, 3)
    assert deltas
    assert deltas.take() == [Delta("stays", None, 1), Delta("changes twice", 1, 3)]
    assert not deltas
    assert deltas.take() == []
