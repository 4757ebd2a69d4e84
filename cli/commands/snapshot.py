"""`coord snapshot`: backups of a tree, and ways in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.access import access_of, access_options
from cli.main import EXIT_FAILED
from cli.render import output_option, print_json
from cli.snapshot.sources import Source, SourceType

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


def _server_option(function: F) -> F:
    about = "A running server."
    return click.option("--server", envvar="COORD_SERVER", metavar="HOST:PORT", help=about)(function)


def _path_option(about: str) -> Callable[[F], F]:
    return click.option("--path", "root", default="/", show_default=True, callback=_checked, help=about)


def _checked(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from coordserver.core.model.paths import is_valid

    if not is_valid(value):
        raise click.BadParameter(f"not a path: {value!r}", ctx, param)
    return value


@click.group("snapshot")
def command() -> None:
    """Save, restore, compare, export and import trees. A snapshot is one file, the exact state at one zxid."""


@command.command("save")
@output_option
@access_options()
@click.argument("source", type=SourceType())
@click.argument("file", type=_FILE)
def save(output: str | None, source: Source, file: Path, **options: Any) -> None:
    """Save the state of SOURCE, a running server (HOST:PORT) or a data directory without one, into FILE, a new one.

    A server must be shown credentials that have every right on / (`--auth`), unless / is open to everybody.
    """
    from cli.snapshot.work import save_to

    state = save_to(source, access_of(options), file)
    _tell(output, {"file": str(file), "bytes": file.stat().st_size}, state)


@command.command("verify")
@output_option
@click.argument("file", type=_FILE)
def verify(output: str | None, file: Path) -> None:
    """Check every checksum of a snapshot FILE, its tree's digest, and that the tree does not contradict itself.

    Exit code 0: whole; 1: not.
    """
    from cli.snapshot.work import verified

    _tell(output, {"file": str(file), "whole": True}, verified(file))


@command.command("restore")
@output_option
@access_options()
@_server_option
@click.option("--data-dir", type=_DIRECTORY, help="A data directory that no server runs on; made where missing.")
@click.option("--replace", is_flag=True, help="Restore into a directory that has a history; its files are set aside.")
@click.option("--exact", is_flag=True, help="With --server: delete what is below the path and not in the file.")
@_path_option("With --server: the subtree to restore.")
@click.argument("file", type=_FILE)
def restore(output: str | None, file: Path, **options: Any) -> None:
    """Restore a snapshot FILE: whole into a data directory, or a subtree into a running server.

    A restored data directory begins a new history: all sessions have ended with their ephemerals, watches are told
    RESYNC, zxids go on above all that were seen. Into a server, what is in the file is created or set by ordinary
    transactions; ephemerals are left out.
    """
    from cli.snapshot.sources import load_file
    from cli.snapshot.work import known_faults

    with known_faults():
        state = load_file(file)
    if _target(options) == "server":
        from cli.snapshot.entries import entries_of

        _send(output, lambda: list(entries_of(state, options["root"])), options)
    else:
        _install(output, state, options)


@command.command("diff")
@output_option
@access_options()
@_path_option("Compare this subtree only.")
@click.argument("old", type=SourceType())
@click.argument("new", type=SourceType())
def diff(output: str | None, root: str, old: Source, new: Source, **options: Any) -> None:
    """Show which paths were added, removed or changed from OLD to NEW, each a snapshot file, a data directory or
    HOST:PORT. Exit code 0: none; 1: some.
    """
    from cli.snapshot.differences import differences
    from cli.snapshot.sources import load
    from cli.snapshot.work import known_faults

    with known_faults():
        access = access_of(options)
        states = load(old, access), load(new, access)
    count = 0
    for found in differences(*states, root):
        count += 1
        if output == "json":
            print_json(found._asdict())
        else:
            fields = f" ({', '.join(found.fields)})" if found.fields else ""
            click.echo(f"{found.what:8}{found.path}{fields}")
    click.get_current_context().exit(EXIT_FAILED if count else 0)


@command.command("export")
@access_options()
@_path_option("Export this subtree only.")
@click.argument("source", type=SourceType())
@click.argument("file", type=click.File("w", encoding="utf-8", atomic=True), default="-")
def export(root: str, source: Source, file: Any, **options: Any) -> None:
    """Write the tree of SOURCE (snapshot file, data directory, HOST:PORT) to FILE as JSON lines, one for each znode."""
    from cli.snapshot.entries import entries_of
    from cli.snapshot.json_lines import entry_line, header_line
    from cli.snapshot.sources import load
    from cli.snapshot.work import known_faults

    with known_faults():
        state = load(source, access_of(options))
        file.write(header_line(root, state.zxid) + "\n")
        for entry in entries_of(state, root):
            file.write(entry_line(entry) + "\n")


@command.command("import")
@output_option
@access_options()
@_server_option
@click.option("--data-dir", type=_DIRECTORY, help="A data directory that no server runs on; made where missing.")
@click.option("--replace", is_flag=True, help="Import into a directory that has a history; its files are set aside.")
@click.option("--exact", is_flag=True, help="With --server: delete what is below the export's root and not in it.")
@click.option("--ephemerals", is_flag=True, help="Make ephemerals, too, as persistent znodes.")
@click.argument("file", type=click.File("r", encoding="utf-8"))
def import_(output: str | None, file: Any, ephemerals: bool, **options: Any) -> None:
    """Import JSON lines of `coord snapshot export`: into a running server by transactions, or into a data directory."""
    import time

    from cli.snapshot.building import build
    from cli.snapshot.work import known_faults, read_export

    to_server = _target(options) == "server"
    with known_faults():
        entries = read_export(file, ephemerals=ephemerals)
        state = None if to_server else build(entries, int(time.time() * 1000))
    if state is None:
        _send(output, lambda: entries, options)
    else:
        _install(output, state, options)


@command.command("import-zookeeper")
@output_option
@click.option("--log-dir", type=_DIRECTORY, help="ZooKeeper's dataLogDir, where it has one of its own.")
@click.option("--data-dir", type=_DIRECTORY, required=True, help="Our data directory; made where missing.")
@click.option("--replace", is_flag=True, help="Import into a directory that has a history; its files are set aside.")
@click.argument("zookeeper", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DATADIR")
def import_zookeeper(output: str | None, zookeeper: Path, log_dir: Path | None, **options: Any) -> None:
    """Move in from an Apache ZooKeeper: DATADIR is its dataDir, stopped, which is only read.

    Its newest whole snapshot and the logs behind it are replayed as it would itself. Sessions and their ephemerals end;
    ACLs, quotas, containers and TTLs stay, and every Stat.
    """
    from cli.snapshot.work import known_faults
    from coordserver.storage.zookeeper_import import read_zookeeper

    with known_faults():
        found = read_zookeeper(zookeeper, log_dir)
    for line in found.report:
        click.echo(line, err=True)
    _install(output, found.machine, options)


def _target(options: dict[str, Any]) -> str:
    """Which of the two was named. A server that only the environment names gives way."""
    if options["data_dir"] is not None:
        source = click.get_current_context().get_parameter_source("server")
        if source is not None and source.name == "COMMANDLINE":
            raise click.UsageError("one of --data-dir and --server, not both")
        if options["exact"]:
            raise click.UsageError("--exact is for --server")
        return "data_dir"
    if options["server"] is None:
        raise click.UsageError("where to: --data-dir or --server?")
    return "server"


def _install(output: str | None, state: Any, options: dict[str, Any]) -> None:
    from cli.snapshot.work import install

    installed = install(state, options["data_dir"], replace=options["replace"])
    told = {
        "data_dir": str(options["data_dir"]),
        "history": installed.history_id.hex(),
        "znodes": installed.znodes,
        "sessions_ended": installed.sessions_ended,
        "zxid": installed.zxid,
        "set_aside": list(installed.set_aside),
    }
    _show(output, told)


def _send(output: str | None, entries: Callable[[], list[Any]], options: dict[str, Any]) -> None:
    from cli.snapshot.work import known_faults, send

    with known_faults():
        access, chosen = access_of(options), entries()
    _show(output, send(options["server"], access, chosen, exact=options["exact"]))


def _tell(output: str | None, told: dict[str, Any], state: Any) -> None:
    counts = state.statistics()
    about = {
        "zxid": state.zxid,
        "znodes": counts.znodes,
        "data_bytes": counts.data_bytes,
        "sessions": counts.sessions,
        "history": state.history_id.hex(),
    }
    _show(output, told | about)


def _show(output: str | None, told: dict[str, Any]) -> None:
    if output == "json":
        print_json(told)
        return
    for name, value in told.items():
        shown = f"{value:#x}" if name == "zxid" else "\n  ".join(map(str, value)) if isinstance(value, list) else value
        if shown != "":
            click.echo(f"{name.replace('_', ' ')}: {shown}")
