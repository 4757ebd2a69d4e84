"""Child processes of the quickstart: started, watched, and ended with their parent."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

from cli.quickstart.layout import HOST, ProcessSpec
from cli.quickstart.restarts import DEATHS_MAX, WINDOW_S, Restarts
from druidroles.lifeline import Lifeline

READY_S = 60.0  # a cold start of nine interpreters on two busy cores takes a few seconds each
STOP_S = 12.0  # a role promises 10
LAST_LINES = 15


class ChildFailedError(Exception):
    """A child ended by itself, or did not get ready. `log` is its file, `last_lines` what it said last."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        super().__init__(f"{name} {why}; its log is {log}")
        self.name = name
        self.log = log
        self.last_lines = tail(log)


class PortsInUseError(Exception):
    """Ports that the cluster needs are taken; the message names them."""


def tail(log: Path, lines: int = LAST_LINES) -> list[str]:
    """The last lines of a log file; none if there is no file."""
    try:
        return log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def check_ports(ports: Sequence[int]) -> None:
    """PortsInUseError if one of the ports cannot be bound on loopback now."""
    taken = []
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as fault:
                if fault.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                taken.append(str(port))
    if taken:
        noun = "port" if len(taken) == 1 else "ports"
        raise PortsInUseError(f"{noun} in use on {HOST}: {', '.join(taken)} (--port-offset moves every port)")


@attrs.define(eq=False)
class Child:
    """One child: its running process, or the one that runs next."""

    spec: ProcessSpec
    log: Path
    process: trio.Process | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)
    restarts: Restarts = attrs.field(factory=Restarts)

    async def wait_ready(self) -> None:
        """Until it has said READY; ChildFailedError if that takes too long."""
        with trio.move_on_after(READY_S) as scope:
            await self.ready.wait()
        if scope.cancelled_caught:
            raise ChildFailedError(self.spec.name, f"was not ready within {READY_S:.0f} s", self.log)


class Children:
    """All children of one quickstart. `stop` stops those that are left.

    A child that ends by itself before it was ever ready is a failure. One that was ready is started again, after a
    delay that grows from death to death; `say` tells it in one line. One that dies too often is a failure, too.
    """

    def __init__(
        self, log_dir: Path, say: Callable[[str], None], command: Sequence[str] = (sys.executable, "-m", "cli")
    ) -> None:
        self._log_dir = log_dir
        self._say = say
        self._command = command
        self._lifeline = Lifeline()
        self._all: list[Child] = []
        self._stopping = trio.Event()

    async def start(self, spec: ProcessSpec, nursery: trio.Nursery) -> Child:
        """Start one child, supervised in `nursery`, which fails with ChildFailedError."""
        child = Child(spec, self._log_dir / f"{spec.name}.log")
        self._all.append(child)
        await self._open(child)
        nursery.start_soon(self._supervise, child)
        return child

    async def _open(self, child: Child) -> None:
        with child.log.open("ab") as sink:
            child.process = await trio.lowlevel.open_process(
                [*self._command, *child.spec.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=[self._lifeline.read_fd],
                env={**os.environ, **self._lifeline.environment},
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops them in order
            )
        if self._stopping.is_set():  # it was opened too late to be told
            child.process.kill()

    async def _supervise(self, child: Child) -> None:
        while True:
            how = await self._watch(child)
            if self._stopping.is_set():
                return
            if not child.ready.is_set():
                raise ChildFailedError(child.spec.name, how, child.log)
            delay_s = child.restarts.died(trio.current_time())
            if delay_s is None:
                why = f"{how}, after {DEATHS_MAX} restarts within {WINDOW_S:.0f} s"
                raise ChildFailedError(child.spec.name, why, child.log)
            self._say(f"{child.spec.name} {how}; it starts again in {delay_s:.0f} s, its log is {child.log}")
            with trio.move_on_after(delay_s):
                await self._stopping.wait()
            if self._stopping.is_set():
                return
            await self._open(child)

    async def _watch(self, child: Child) -> str:
        """Follow one process to its end: how it ended."""
        assert child.process is not None
        assert child.process.stdout is not None
        line = b""
        with child.log.open("ab") as sink:
            async with child.process.stdout as output:
                async for chunk in output:
                    sink.write(chunk)
                    sink.flush()
                    line = (line + chunk)[-4096:]
                    if b"READY" in line:
                        child.ready.set()
        code = await child.process.wait()
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def stop(self) -> None:
        """SIGTERM to the roles, then to the server, which they say goodbye to; SIGKILL to what is left after 12 s."""
        self._stopping.set()
        running = [(child.spec.name, child.process) for child in self._all if child.process is not None]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * STOP_S + 1):
            await _end([process for name, process in running if name != "server"])
            await _end([process for name, process in running if name == "server"])
        self._lifeline.close()


async def _end(processes: Sequence[trio.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
    with trio.move_on_after(STOP_S):
        for process in processes:
            await process.wait()
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()
