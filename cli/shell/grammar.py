"""The parser of the shell's commands. It turns words into an action, or raises a usage error.

A click callback does not execute its command. It returns an action, which the shell calls with a client. A command is
therefore checked before the shell connects, and the same parser serves a single command, the prompt and a pipe.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from cli.render import FORMATS, output_option
from cli.shell import actions
from cli.shell.actions import Action


class QuitRequested(Exception):
    """The user entered `quit` or `exit`."""


class _ZnodePath(click.ParamType[str]):
    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str) or not value.startswith("/"):
            self.fail(f"{value!r} does not begin with a slash", param, ctx)
        return value


_PATH = _ZnodePath()
_version = click.option("-v", "--version", type=int, default=-1, help="Only if the znode has this version.")
_base64 = click.option("--base64", "is_base64", is_flag=True, help="DATA is base64.")


def parse_line(line: str, default_output: str) -> Action | None:
    """Parse one line of input. Returns and raises as `parse`, and returns None for an empty line or a comment."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    return parse(words, default_output) if words else None


def parse(words: Sequence[str], default_output: str) -> Action | None:
    """Parse a command. `default_output` is its format unless it has an option for that.

    Returns the action, or None after `help`, which prints its text at once. Raises click.UsageError, QuitRequested.
    """
    outcome = commands.main(list(words), prog_name="", standalone_mode=False, obj=default_output)
    return outcome if callable(outcome) else None


def _as_json(output: str | None) -> bool:
    default = click.get_current_context().obj
    return (output or default or FORMATS[0]) == "json"


def _decode_data(data: str, is_base64: bool) -> bytes:
    if not is_base64:
        return data.encode()
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as fault:
        raise click.UsageError(f"DATA is not base64: {fault}") from None


@click.group(add_help_option=False, options_metavar="", subcommand_metavar="COMMAND [ARGUMENTS]")
def commands() -> None:
    """Read and change znodes. `help COMMAND` explains a command."""


@commands.command("ls")
@click.argument("path", type=_PATH, default="/")
@click.option("-R", "recursive", is_flag=True, help="List the whole subtree, as full paths.")
@click.option("-s", "stat", is_flag=True, help="Show the Stat too.")
@output_option
def _ls(path: str, recursive: bool, stat: bool, output: str | None) -> Action:
    """List the children of a znode."""
    return partial(actions.ls, path=path, recursive=recursive, stat=stat, as_json=_as_json(output))


@commands.command("get")
@click.argument("path", type=_PATH)
@click.option("-s", "stat", is_flag=True, help="Show the Stat too.")
@click.option("--decode", is_flag=True, help="Decompress gzip data.")
@output_option
def _get(path: str, stat: bool, decode: bool, output: str | None) -> Action:
    """Show the data of a znode."""
    return partial(actions.get, path=path, stat=stat, decode=decode, as_json=_as_json(output))


@commands.command("create")
@click.argument("path", type=_PATH)
@click.argument("data", default="")
@click.option("-e", "--ephemeral", is_flag=True, help="The znode is deleted when this shell ends.")
@click.option("-s", "--sequence", is_flag=True, help="The server appends a number to the name.")
@click.option("-c", "--container", is_flag=True, help="The server deletes the znode some time after its last child.")
@click.option("--ttl", "ttl_ms", type=click.IntRange(min=1), help="Delete the znode after these milliseconds unused.")
@click.option("-p", "--parents", is_flag=True, help="Create missing parents.")
@_base64
@output_option
def _create(
    path: str,
    data: str,
    ephemeral: bool,
    sequence: bool,
    container: bool,
    ttl_ms: int | None,
    parents: bool,
    is_base64: bool,
    output: str | None,
) -> Action:
    """Create a znode and show its path."""
    if (container and (ephemeral or sequence or ttl_ms)) or (ephemeral and ttl_ms):
        raise click.UsageError("a znode cannot be all of these: ephemeral, sequence, container, TTL")
    flags = {
        "ephemeral": ephemeral,
        "sequence": sequence,
        "container": container,
        "ttl_ms": ttl_ms or 0,
        "makepath": parents,
    }
    payload = _decode_data(data, is_base64)
    return partial(actions.create, path=path, data=payload, flags=flags, as_json=_as_json(output))


@commands.command("set")
@click.argument("path", type=_PATH)
@click.argument("data")
@_version
@_base64
@output_option
def _set(path: str, data: str, version: int, is_base64: bool, output: str | None) -> Action:
    """Replace the data of a znode."""
    payload = _decode_data(data, is_base64)
    return partial(actions.set_data, path=path, data=payload, version=version, as_json=_as_json(output))


@commands.command("delete")
@click.argument("path", type=_PATH)
@_version
def _delete(path: str, version: int) -> Action:
    """Delete a znode without children."""
    return partial(actions.delete, path=path, version=version)


@commands.command("deleteall")
@click.argument("path", type=_PATH)
def _deleteall(path: str) -> Action:
    """Delete a znode and its whole subtree."""
    if path == "/":
        raise click.UsageError("the root cannot be deleted")
    return partial(actions.deleteall, path=path)


@commands.command("stat")
@click.argument("path", type=_PATH)
@output_option
def _stat(path: str, output: str | None) -> Action:
    """Show the Stat of a znode."""
    return partial(actions.stat, path=path, as_json=_as_json(output))


@commands.command("watch")
@click.argument("path", type=_PATH)
@click.option("-r", "--recursive", is_flag=True, help="Watch the whole subtree.")
@click.option("--count", type=click.IntRange(min=0), default=0, help="End after this number of events (0: never).")
@output_option
def _watch(path: str, recursive: bool, count: int, output: str | None) -> Action:
    """Show the events of a znode until Ctrl-C."""
    return partial(actions.watch, path=path, recursive=recursive, count=count, as_json=_as_json(output))


@commands.command("help")
@click.argument("name", default="")
@click.pass_context
def _help(context: click.Context, name: str) -> None:
    """List the commands, or explain one."""
    assert context.parent is not None
    if not name:
        click.echo(commands.get_help(context.parent))
        return
    found = commands.get_command(context.parent, name)
    if found is None:
        raise click.UsageError(f"No such command {name!r}.")
    click.echo(found.get_help(click.Context(found, parent=context.parent, info_name=name)))


@commands.command("quit")
def _quit() -> None:
    """Leave the shell, as Ctrl-D does."""
    raise QuitRequested


commands.add_command(_quit, "exit")
