"""`coord`: the one command. Its settings come from a flag, else the environment, else a file, else a default.

Commands are imported when they are called, so that `coord --help` and the start of a process stay quick. Errors that an
operator can do something about are one line on stderr: exit code 2 for what was asked wrongly, 1 for what went wrong.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path

import click

from cli.config_file import load_for_root
from cli.environment import unknown_variables
from cli.extras import missing_extra
from cli.logs import FORMATS, LEVELS, setup_logging
from coordserver import VERSION
from druidroles.lifeline import follow_parent

_log = logging.getLogger(__name__)

COMMANDS = {
    "bench": "Measure latencies and rates.",
    "check": "Look whether a data directory is whole.",
    "druid": "Start one process of a Druid cluster.",
    "quickstart": "Start a whole cluster, ingest a month of flights, and query it.",
    "server": "Start the coordination server.",
    "shell": "Look at the tree and change it.",
    "snapshot": "Save, restore, compare, export and import trees.",
}

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are modules of cli.commands, each with its `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


def _load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Make what the file says the defaults of the commands that it speaks of."""
    if value is not None:
        ctx.default_map = load_for_root(ctx, value)
    return value


@click.command(
    "coord",
    cls=LazyGroup,
    context_settings={"auto_envvar_prefix": "COORD", "help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(VERSION, prog_name="coord")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=_load_config,
    help="TOML file with a table for each command, keys being the long flags with _ for -; or ZooKeeper's zoo.cfg.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", help="Least severity that is logged.")
@click.option("--log-format", type=click.Choice(FORMATS), default="text", help="Lines for people, or JSON objects.")
def root(config: Path | None, log_level: str, log_format: str) -> None:
    """A coordination server in the manner of ZooKeeper, and the Druid roles that use it."""
    setup_logging(log_level, log_format)
    command = click.get_current_context().command
    assert isinstance(command, click.Group)
    unknown = unknown_variables(command, os.environ)
    if unknown:
        _log.warning("environment variables that nothing reads: %s", unknown)


def main() -> None:
    """The entry point."""
    follow_parent()
    try:
        code = root.main(standalone_mode=False)
    except click.ClickException as fault:
        ctx = getattr(fault, "ctx", None)
        click.echo(f"{ctx.command_path if ctx is not None else 'coord'}: {fault.format_message()}", err=True)
        sys.exit(EXIT_USAGE if isinstance(fault, click.UsageError) else EXIT_FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except (ModuleNotFoundError, BaseExceptionGroup) as fault:
        line = missing_extra(fault)
        if not line:
            raise
        click.echo(f"coord: {line}", err=True)
        sys.exit(EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else 0)
