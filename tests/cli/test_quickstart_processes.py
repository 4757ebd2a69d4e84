"""The quickstart supervises its children: it starts again what dies, says so, and gives up on what dies too often."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from cli.quickstart import restarts
from cli.quickstart.layout import ProcessSpec
from cli.quickstart.processes import ChildFailedError, Children
from cli.quickstart.restarts import DEATHS_MAX, DELAY_MAX_S, WINDOW_S, Restarts

READY_THEN = "import sys, time; print('READY', flush=True); print(sys.argv[1], flush=True); "
WAITS = READY_THEN + "time.sleep(1000)"
DIES = READY_THEN + "sys.exit(3)"
NEVER_READY = "import sys; sys.exit(4)"


def test_the_delay_grows_and_ends() -> None:
    deaths = Restarts()
    delays = [deaths.died(float(n)) for n in range(DEATHS_MAX + 1)]
    assert delays == [1, 2, 4, 8, 16, None]
    assert all(delay is None or delay <= DELAY_MAX_S for delay in delays)


def test_deaths_long_ago_are_forgotten() -> None:
    deaths = Restarts()
    for n in range(50):
        assert deaths.died(n * (WINDOW_S + 1)) == 1


def spec(name: str = "broker") -> ProcessSpec:
    return ProcessSpec(name, (name,), 0)


def command(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


@pytest.mark.real
async def test_a_child_that_dies_is_started_again_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "FIRST_DELAY_S", 0.01)
    said: list[str] = []
    children = Children(tmp_path, said.append, command(WAITS))
    async with trio.open_nursery() as nursery:
        child = await children.start(spec(), nursery)
        await child.wait_ready()
        first = child.process
        assert first is not None
        first.send_signal(signal.SIGKILL)
        while child.process is first or (tmp_path / "broker.log").read_text().count("READY") < 2:
            await trio.sleep(0.01)
        await children.stop()
    assert len(said) == 1
    assert said[0].startswith("broker was ended by signal 9; it starts again in")
    assert child.process is not None
    assert child.process.returncode == -signal.SIGTERM


@pytest.mark.real
async def test_a_child_that_dies_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_DELAY_S", 0.001)
    said: list[str] = []
    children = Children(tmp_path, said.append, command(DIES))
    with pytest.RaisesGroup(pytest.RaisesExc(ChildFailedError, match="exit code 3, after 5 restarts")):
        async with trio.open_nursery() as nursery:
            try:
                await children.start(spec(), nursery)
                await trio.sleep_forever()
            finally:
                await children.stop()  # noqa: ASYNC102 - it shields itself, with a deadline
    assert len(said) == DEATHS_MAX
    assert (tmp_path / "broker.log").read_text().count("READY") == DEATHS_MAX + 1


@pytest.mark.real
async def test_a_child_that_never_was_ready_fails_at_once(tmp_path: Path) -> None:
    said: list[str] = []
    children = Children(tmp_path, said.append, command(NEVER_READY))
    with pytest.RaisesGroup(pytest.RaisesExc(ChildFailedError, match="ended with exit code 4")):
        async with trio.open_nursery() as nursery:
            try:
                await children.start(spec(), nursery)
                await trio.sleep_forever()
            finally:
                await children.stop()  # noqa: ASYNC102 - it shields itself, with a deadline
    assert said == []


@pytest.mark.real
async def test_a_stop_while_a_child_waits_for_its_restart_ends_at_once(tmp_path: Path) -> None:
    waiting = trio.Event()
    children = Children(tmp_path, lambda _: waiting.set(), command(DIES))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(children.start, spec(), nursery))
        await waiting.wait()
        await children.stop()
    assert (tmp_path / "broker.log").read_text().count("READY") == 1
