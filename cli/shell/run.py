"""The loop of the shell: it opens a session, reads lines, and executes one command after another.

At a terminal the shell shows an error and prompts again. With a pipe it stops at the first error, because the following
commands of a script may depend on the failed one. A command ends with an error after PATIENCE_S seconds without a
connection.
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
PATIENCE_S = 10.0  # the time without a connection after which a command fails

REFUSED, BAD_USAGE, NO_CONNECTION = 1, 2, 3
INTERRUPTED = 130  # 128 + SIGINT, as in other shells

_PROMPT = "coord> "
_READ_BYTES = 64 * 1024


class Target(NamedTuple):
    """The servers of the shell, and its TLS settings and credentials."""

    servers: str
    tls: Tls | None = None
    auth: tuple[Auth, ...] = ()


class UnreachableError(ConnectError):
    """The connection was lost during a command and was not restored in time."""


def exit_code_of(error: CoordError) -> int:
    """Return 1 if a server refused the command, 3 if there was no connection or no session."""
    return REFUSED if isinstance(error, KeeperError) and not isinstance(error, SessionExpiredError) else NO_CONNECTION


async def one_shot(target: Target, action: Action) -> None:
    """Connect and execute one command. Raises CoordError."""
    async with _open_session(target) as zk:
        await perform(zk, action)


async def prompt(target: Target, output: str) -> int:
    """Execute the commands that the user enters at a terminal. Returns the exit code."""
    import readline  # noqa: F401 - the import adds line editing and history to `input`

    async with _open_session(target) as zk:
        with _restore_terminal():
            while True:
                try:
                    line = await trio.to_thread.run_sync(input, _PROMPT, abandon_on_cancel=True)
                except EOFError:
                    click.echo()
                    return 0
                try:
                    action = parse_line(line, output)
                    if action is not None and not await _perform_until_interrupt(zk, action):
                        click.echo()
                except QuitRequested:
                    return 0
                except click.ClickException as fault:
                    complain(fault.format_message())
                except CoordError as error:
                    complain(str(error))


async def pipe(target: Target, output: str) -> int:
    """Execute the lines of standard input up to the first error. Returns the exit code. Raises CoordError."""
    async with _open_session(target) as zk, aclosing(_read_lines(sys.stdin.fileno())) as lines:
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
    """Print an error as one line on standard error."""
    click.echo(f"coord shell: {' '.join(text.split())}", err=True)


def _open_session(target: Target) -> AbstractAsyncContextManager[Client]:
    return connect(target.servers, name="coord shell", connect_within=CONNECT_S, tls=target.tls, auth=target.auth)


async def perform(zk: Client, action: Action, *, patience_s: float = PATIENCE_S) -> None:
    """Execute an action. Raises its errors, and UnreachableError after `patience_s` seconds without a connection."""
    async with background() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(_watch_connection, zk, patience_s, scope.cancel)
            await action(zk)
        if scope.cancelled_caught:
            raise UnreachableError(f"the connection was lost and not restored within {patience_s:g} s")


async def _watch_connection(zk: Client, patience_s: float, give_up: Callable[[], None]) -> None:
    """Call `give_up` and return after `patience_s` seconds without a connection."""
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


async def _perform_until_interrupt(zk: Client, action: Action) -> bool:
    """Execute an action, which Ctrl-C cancels without ending the shell. Returns whether it finished."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with background() as nursery:

            async def interrupt(scope: trio.CancelScope) -> None:
                await anext(signals)
                scope.cancel()

            with trio.CancelScope() as scope:
                nursery.start_soon(interrupt, scope)
                await perform(zk, action)
    return not scope.cancelled_caught


async def _read_lines(fd: int) -> AsyncGenerator[str, None]:
    """Yield the lines of a file descriptor.

    The descriptor is read without Python's buffered reader. An abandoned thread inside of that reader would hold its
    lock when the interpreter ends.
    """
    rest = b""
    while chunk := await trio.to_thread.run_sync(os.read, fd, _READ_BYTES, abandon_on_cancel=True):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def _restore_terminal() -> Iterator[None]:
    """Restore the terminal's modes at the end of the block.

    An interrupted prompt would leave the terminal in the modes of line editing.
    """
    import termios

    fd = sys.stdin.fileno()
    modes = termios.tcgetattr(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, modes)
