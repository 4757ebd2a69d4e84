"""Child processes of the quickstart: started, watched, and ended with their parent."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from cli.quickstart.layout import HOST, ProcessSpec
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
    """One running child."""

    spec: ProcessSpec
    process: trio.Process
    log: Path
    ready: trio.Event = attrs.field(factory=trio.Event)

    async def wait_ready(self) -> None:
        """Until it has said READY; ChildFailedError if that takes too long."""
        with trio.move_on_after(READY_S) as scope:
            await self.ready.wait()
        if scope.cancelled_caught:
            raise ChildFailedError(self.spec.name, f"was not ready within {READY_S:.0f} s", self.log)


class Children:
    """All children of one quickstart. Open it with `async with`; leaving stops those that are left."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._lifeline = Lifeline()
        self._running: list[Child] = []
        self._stopping = False

    async def start(self, spec: ProcessSpec, nursery: trio.Nursery) -> Child:
        """Start one child, watched in `nursery`, which fails with ChildFailedError if the child ends by itself."""
        log = self._log_dir / f"{spec.name}.log"
        with log.open("ab") as sink:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "cli", *spec.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=[self._lifeline.read_fd],
                env={**os.environ, **self._lifeline.environment},
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops them in order
            )
        child = Child(spec, process, log)
        self._running.append(child)
        nursery.start_soon(self._watch, child)
        return child

    async def _watch(self, child: Child) -> None:
        assert child.process.stdout is not None
        line = b""
        with child.log.open("ab") as sink:
            async for chunk in child.process.stdout:
                sink.write(chunk)
                sink.flush()
                line = (line + chunk)[-4096:]
                if b"READY" in line:
                    child.ready.set()
        code = await child.process.wait()
        if not self._stopping:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise ChildFailedError(child.spec.name, how, child.log)

    async def stop(self) -> None:
        """SIGTERM to the roles, then to the server, which they say goodbye to; SIGKILL to what is left after 12 s."""
        self._stopping = True
        servers = [child for child in self._running if child.spec.name == "server"]
        roles = [child for child in self._running if child.spec.name != "server"]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * STOP_S + 1):
            await _end(roles)
            await _end(servers)
        self._lifeline.close()


async def _end(children: Sequence[Child]) -> None:
    for child in children:
        if child.process.returncode is None:
            child.process.send_signal(signal.SIGTERM)
    with trio.move_on_after(STOP_S):
        for child in children:
            await child.process.wait()
    for child in children:
        if child.process.returncode is None:
            child.process.kill()
            await child.process.wait()
