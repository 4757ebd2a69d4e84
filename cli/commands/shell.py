"""`coord shell`: look at znodes and change them, in one command or at a prompt."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from cli.access import access_of, access_options
from cli.render import output_option
from coordserver.client import CredentialsError


@click.command("shell", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--server",
    envvar="COORD_SERVER",
    default="127.0.0.1:2181",
    show_default=True,
    metavar="[zk://]HOST:PORT[,...]",
    help="The coordination server, or several that are tried in turn; zk:// for an Apache ZooKeeper.",
)
@access_options()
@output_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND ...]")
def command(server: str, output: str | None, words: tuple[str, ...], **options: Any) -> None:
    """Do one COMMAND, or without one read commands from a prompt or a pipe; `help` lists them.

    Exit codes: 1 an answer that says no, 2 bad usage, 3 no connection. A pipe stops at its first error.
    """
    from cli.shell import grammar, run
    from coordserver.client.connect import parse_servers

    try:
        parse_servers(server)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--server") from None
    try:
        access = access_of(options)
    except CredentialsError as fault:
        run.complain(str(fault))
        sys.exit(run.BAD_USAGE)
    target = run.Target(server, *access)
    _quieten()
    shown_as = output or "text"
    if not words:
        loop = run.prompt if sys.stdin.isatty() else run.pipe
        sys.exit(_run(partial(loop, target, shown_as)))
    try:
        action = grammar.parse(words, shown_as)
    except grammar.QuitRequested:
        return
    except click.ClickException as fault:
        run.complain(fault.format_message())
        sys.exit(run.BAD_USAGE)
    if action is not None:
        sys.exit(_run(partial(run.one_shot, target, action)) or 0)


def _quieten() -> None:
    """Let errors be the one line that the shell shows, unless the user asked for a log."""
    import logging

    root = click.get_current_context().find_root()
    if root.get_parameter_source("log_level") in (None, ParameterSource.DEFAULT):
        logging.getLogger("coordserver").setLevel(logging.CRITICAL)


def _run(main: Callable[[], Awaitable[int | None]]) -> int | None:
    """Run the loop, and tell its errors as one line and an exit code."""
    import trio

    from cli.running import leaves
    from cli.shell import run
    from coordserver.client import CoordError

    try:
        return trio.run(main)
    except CoordError as error:
        run.complain(str(error))
        return run.exit_code_of(error)
    except (BaseExceptionGroup, KeyboardInterrupt) as fault:
        if not all(isinstance(part, KeyboardInterrupt) for part in leaves(fault)):
            raise
        return run.INTERRUPTED
