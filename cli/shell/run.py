"""The shell's loop: a session, lines from somewhere, one command after the other.

At a terminal an error is shown and the prompt comes back; a pipe stops at its first error, so that what follows in a
script does not run on a wrong footing. A command that finds no server for a while is given up.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import NamedTuple

import click
import trio

from cli.shell.actions import Action
from cli.shell.grammar import QuitRequested, parse_line
from coordserver.client import (
    Auth,
    Client,
    ConnectError,
    CoordError,
    KeeperError,
    SessionExpiredError,
    SessionState,
    Tls,
    connect,
)
from coordserver.client.background import background

CONNECT_S = 2.0
PATIENCE_S = 10.0  # without a connection, after which a command is given up

SAID_NO, BAD_USAGE, NO_CONNECTION = 1, 2, 3
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_PROMPT = "coord> "
_READ_BYTES = 64 * 1024


class Target(NamedTuple):
    """Whom the shell talks with, and what it shows there."""

    servers: str
    tls: Tls | None = None
    auth: tuple[Auth, ...] = ()


class UnreachableError(ConnectError):
    """The connection was lost under a command and did not come back in time."""


def exit_code_of(error: CoordError) -> int:
    """1 where a server said no, 3 where none could be heard."""
    return SAID_NO if isinstance(error, KeeperError) and not isinstance(error, SessionExpiredError) else NO_CONNECTION


async def one_shot(target: Target, action: Action) -> None:
    """Do one command. Raises CoordError."""
    async with _session(target) as zk:
        await perform(zk, action)


async def prompt(target: Target, output: str) -> int:
    """Talk with a terminal; returns the exit code."""
    import readline  # noqa: F401 - importing it gives `input` its line editing and history

    async with _session(target) as zk:
        with _terminal_restored():
            while True:
                try:
                    line = await trio.to_thread.run_sync(input, _PROMPT, abandon_on_cancel=True)
                except EOFError:
                    click.echo()
                    return 0
                try:
                    action = parse_line(line, output)
                    if action is not None and not await _unless_interrupted(zk, action):
                        click.echo()
                except QuitRequested:
                    return 0
                except click.ClickException as fault:
                    complain(fault.format_message())
                except CoordError as error:
                    complain(str(error))


async def pipe(target: Target, output: str) -> int:
    """Do what the lines of standard input say, up to the first error; returns the exit code."""
    async with _session(target) as zk, aclosing(_lines(sys.stdin.fileno())) as lines:
        async for line in lines:
            try:
                action = parse_line(line, output)
                if action is not None:
                    await perform(zk, action)
            except QuitRequested:
                break
            except click.ClickException as fault:
                complain(fault.format_message())
                return BAD_USAGE
    return 0


def complain(text: str) -> None:
    """One line on standard error."""
    click.echo(f"coord shell: {' '.join(text.split())}", err=True)


def _session(target: Target) -> AbstractAsyncContextManager[Client]:
    return connect(target.servers, name="coord shell", connect_within=CONNECT_S, tls=target.tls, auth=target.auth)


async def perform(zk: Client, action: Action, *, patience_s: float = PATIENCE_S) -> None:
    """Do it. Raises what it raises, and UnreachableError if the connection is away for `patience_s`."""
    async with background() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(_until_unreachable, zk, patience_s, scope.cancel)
            await action(zk)
        if scope.cancelled_caught:
            raise UnreachableError(f"the connection was lost and did not come back within {patience_s:g} s")


async def _until_unreachable(zk: Client, patience_s: float, give_up: Callable[[], None]) -> None:
    """Call `give_up` when there was no connection for `patience_s`."""
    deadline = math.inf
    async with zk.states() as states:
        while True:
            with trio.CancelScope(deadline=deadline) as scope:
                state = await anext(states, None)
                if state is None:  # the session is over, which the command itself finds
                    return
                if state is SessionState.CONNECTED:
                    deadline = math.inf
                else:
                    deadline = min(deadline, trio.current_time() + patience_s)
            if scope.cancelled_caught:
                give_up()
                return


async def _unless_interrupted(zk: Client, action: Action) -> bool:
    """Do it; Ctrl-C ends it and nothing else. Whether it came to its end."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with background() as nursery:

            async def interrupt(scope: trio.CancelScope) -> None:
                await anext(signals)
                scope.cancel()

            with trio.CancelScope() as scope:
                nursery.start_soon(interrupt, scope)
                await perform(zk, action)
    return not scope.cancelled_caught


async def _lines(fd: int) -> AsyncGenerator[str, None]:
    """The lines of a file descriptor. Read below Python's own buffer: a thread left behind in there would hold its lock
    when the interpreter ends."""
    rest = b""
    while chunk := await trio.to_thread.run_sync(os.read, fd, _READ_BYTES, abandon_on_cancel=True):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def _terminal_restored() -> Iterator[None]:
    """Put the terminal's modes back at the end: a prompt that is interrupted leaves them as line editing has them."""
    import termios

    fd = sys.stdin.fileno()
    modes = termios.tcgetattr(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, modes)
