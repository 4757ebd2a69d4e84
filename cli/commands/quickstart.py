"""`coord quickstart`: a whole Druid cluster over our own coordination server, in one command."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click


@click.command("quickstart")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("coord-quickstart"),
    show_default=True,
    help="Where everything is kept; the same directory may be used again.",
)
@click.option("--port-offset", type=int, default=0, show_default=True, help="Move every port, by a multiple of 1000.")
@click.option("--keep/--no-keep", default=True, show_default=True, help="Leave the cluster running until Ctrl-C.")
@click.option("--log-level", default="info", show_default=True, help="Of the child processes.")
def command(data_dir: Path, port_offset: int, keep: bool, log_level: str) -> None:
    """Start a coordination server and every Druid role, ingest a month of flights, and query it."""
    import trio

    from cli.quickstart import layout, run
    from cli.quickstart.processes import ChildFailedError, PortsInUseError
    from cli.quickstart.show import Screen
    from cli.quickstart.work import WorkFailedError
    from cli.running import leaves
    from druidroles.process import StartError

    known = (layout.LayoutError, PortsInUseError, StartError, WorkFailedError, ChildFailedError, OSError)
    try:
        plan = layout.plan(data_dir.absolute(), port_offset, log_level)
        trio.run(partial(run.run, plan, Screen(), keep=keep))
    except BaseException as group:  # noqa: ASYNC103 - outside trio: nothing is left that could be cancelled
        faults = list(leaves(group))
        if not all(isinstance(fault, (*known, trio.TooSlowError)) for fault in faults):
            raise
        fault = faults[0]
        text = "the cluster did not get there in time; see the logs" if isinstance(fault, trio.TooSlowError) else fault
        click.echo(f"coord quickstart: {text}", err=True)
        for line in getattr(fault, "last_lines", ()):
            click.echo(f"  {line}", err=True)
        sys.exit(1 if isinstance(fault, (ChildFailedError, WorkFailedError, trio.TooSlowError)) else 2)
