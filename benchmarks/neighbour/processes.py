"""Child processes: started, spoken with by lines, measured from outside, ended by their id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from druidroles.lifeline import Lifeline

ROOT = Path(__file__).parents[2]
SEARCHED = (ROOT, ROOT / "benchmarks", ROOT / "tests" / "support")
READY_S = 60.0
STOP_S = 12.0
_CLEAR_PEAK = "5"
"""Written to `clear_refs`: the peak of memory counts from now (proc(5))."""


class ChildError(Exception):
    """A process did not do what the benchmark needs; the message is one line."""


class Child:
    """A running process."""

    def __init__(self, name: str, process: trio.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._received = b""

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    async def line(self, seconds: float) -> str:
        """Its next line. Raises ChildError where none comes within so long."""
        assert self._process.stdout is not None
        with trio.move_on_after(seconds):
            while b"\n" not in self._received:
                data = await self._process.stdout.receive_some()
                if not data:
                    await self._process.wait()
                    raise ChildError(f"{self.name} ended: {self.last_words()}")
                self._received += data
            line, _, self._received = self._received.partition(b"\n")
            return line.decode()
        raise ChildError(f"{self.name} said nothing for {seconds:g} s")

    async def event(self, name: str, seconds: float) -> dict[str, Any]:
        """Its next line as JSON, which must be this event."""
        found: dict[str, Any] = json.loads(await self.line(seconds))
        if found.pop("event") != name:
            raise ChildError(f"{self.name} did not say {name}")
        return found

    async def say(self, word: str) -> None:
        """A word to its standard input."""
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(word.encode() + b"\n")
        except trio.BrokenResourceError:
            raise ChildError(f"{self.name} ended: {self.last_words()}") from None

    def rss_mb(self, what: str = "VmRSS") -> int:
        """Resident memory; 0 once it has ended."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        found = status.partition(f"{what}:")[2].split()
        return int(found[0]) // 1024 if found else 0

    def clear_peak(self) -> None:
        """Let `rss_mb("VmHWM")` count from now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text(_CLEAR_PEAK)

    def starved_ms(self) -> float:
        """How long its first thread could run and waited for a processor: the machine's fault, not its own."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e6
        except OSError:
            return 0.0

    def last_words(self) -> str:
        """The end of what it wrote to standard error, on one line."""
        return " | ".join(self._log.read_text(errors="replace").splitlines()[-3:])[-400:] or "without a word"

    async def end(self) -> None:
        """SIGTERM, and after a while SIGKILL."""
        if not self.ended:
            self._process.terminate()
        with trio.move_on_after(STOP_S):
            await self._process.wait()
        if not self.ended:
            self._process.kill()
            await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        if not self.ended:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def child(
    name: str, module: str, *arguments: str, directory: Path, lifeline: Lifeline, descriptors: int = 0
) -> AsyncIterator[Child]:
    """`python -m MODULE ARGUMENTS`, ended after the block. `descriptors`: its RLIMIT_NOFILE."""
    command = [sys.executable, "-m", module, *arguments]
    if descriptors:
        command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors), *command]
    log = directory / f"{name}.log"
    with log.open("wb") as sink:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            pass_fds=[lifeline.read_fd],
            env={**os.environ, **lifeline.environment, "PYTHONPATH": os.pathsep.join(map(str, SEARCHED))},
            start_new_session=True,
        )
    found = Child(name, process, log)
    try:
        yield found
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * STOP_S):
            await found.end()


async def ready_port(process: Child, start: Sequence[str]) -> int:
    """The port that its READY line tells. Raises ChildError."""
    words = (await process.line(READY_S)).split()
    if words[: len(start)] != list(start):
        raise ChildError(f"{process.name} is not ready: {' '.join(words)}")
    return int(words[len(start)].rpartition(":")[2])
