"""A coordination server to measure, as a child process with a data directory of its own and fsync on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio

from cli.bench.errors import BenchError
from druidroles.lifeline import Lifeline

READY_S = 30.0
STOP_S = 15.0

_READY = "READY server "
_LAST_LINES = 5


@asynccontextmanager
async def running_server(address: str | None) -> AsyncIterator[str]:
    """The server at `address`, or where there is none a child for as long as the block lasts."""
    if address is not None:
        yield address
        return
    async with child_server() as started:
        yield started


@asynccontextmanager
async def child_server() -> AsyncIterator[str]:
    """The HOST:PORT of a child. Its data goes to a temporary directory, and goes with it. Raises BenchError if it does
    not start."""
    with tempfile.TemporaryDirectory(prefix="coord-bench-") as directory, closing(Lifeline()) as lifeline:
        log = Path(directory) / "server.log"
        arguments = ["server", "--listen", "127.0.0.1:0", "--data-dir", f"{directory}/data"]
        with log.open("wb") as sink:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=[lifeline.read_fd],
                env={**os.environ, **lifeline.environment},
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop it once its clients are gone
            )
        try:
            address = await _address(process)
            if address is None:
                raise BenchError(f"the server did not start: {_last_words(log)}")
            yield address
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * STOP_S):
                await _end(process)


async def _address(process: trio.Process) -> str | None:
    """What its READY line tells; None if it ended first, or took too long."""
    assert process.stdout is not None
    text = ""
    with trio.move_on_after(READY_S):
        async for chunk in process.stdout:
            text += chunk.decode(errors="replace")
            for line in text.splitlines(keepends=True):
                if line.startswith(_READY) and line.endswith("\n"):
                    return line.removeprefix(_READY).split()[0]
    return None


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return " | ".join(lines[-_LAST_LINES:]) or "it said nothing"


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.terminate()
    with trio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
