"""A coordination server for a measurement: a child process with its own data directory and with fsync."""

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
    """Yield `address`, or if it is None the address of a child server that runs until the block ends."""
    if address is not None:
        yield address
        return
    async with child_server() as started:
        yield started


@asynccontextmanager
async def child_server() -> AsyncIterator[str]:
    """Start a server and yield its HOST:PORT. The end of the block stops the server and deletes its data directory.

    Raises BenchError if it does not start.
    """
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
                # Ctrl-C must not reach the child. This process stops it after its clients have closed.
                start_new_session=True,
            )
        try:
            address = await _read_address(process)
            if address is None:
                raise BenchError(f"the server did not start: {_last_lines(log)}")
            yield address
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * STOP_S):
                await _stop(process)


async def _read_address(process: trio.Process) -> str | None:
    """Return the address in the READY line. Returns None if the process ends before that, or after READY_S seconds."""
    assert process.stdout is not None
    text = ""
    with trio.move_on_after(READY_S):
        async for chunk in process.stdout:
            text += chunk.decode(errors="replace")
            for line in text.splitlines(keepends=True):
                if line.startswith(_READY) and line.endswith("\n"):
                    return line.removeprefix(_READY).split()[0]
    return None


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return " | ".join(lines[-_LAST_LINES:]) or "its log is empty"


async def _stop(process: trio.Process) -> None:
    if process.returncode is None:
        process.terminate()
    with trio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
