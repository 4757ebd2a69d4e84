"""How long does a polite client wait beside a greedy one? Run with `python benchmarks/neighbour`.

Each scenario starts its own server on a free port of loopback, a greedy client and a polite one, each a process of its
own. JSON lines on stdout, a table on stderr. docs/benchmarks.md says what the columns mean.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import trio

_HERE = Path(__file__).parent
sys.path[0:1] = [str(_HERE.parent), str(_HERE.parents[1] / "tests" / "support")]

from cli.bench.screen import progress_shown  # noqa: E402
from cli.render import print_json, print_table  # noqa: E402
from druidroles.errors import first_leaf  # noqa: E402
from neighbour.measure import Extent, measure, table_row  # noqa: E402
from neighbour.processes import ChildError  # noqa: E402
from neighbour.scenarios import SCENARIOS  # noqa: E402


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="This scenario; repeatable.")
@click.option("--seconds", default=8.0, show_default=True, help="How long the greedy client goes on.")
@click.option("--bound", default=60.0, show_default=True, help="Seconds after which it is ended.")
@click.option("--scale", default=1.0, show_default=True, help="Of all counts: 0.01 tries whether everything works.")
def main(only: tuple[str, ...], seconds: float, bound: float, scale: float) -> None:
    """Measure and print."""
    rows, faults = [], []
    with progress_shown() as progress:
        for name in only or SCENARIOS:
            try:
                row = trio.run(measure, name, Extent(seconds, bound, scale), progress)
            except* (ChildError, OSError) as fault:
                faults.append(f"{name}: {first_leaf(fault)}")
            else:
                rows.append(row)
                print_json(row)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    if rows:
        title = f"Waits of a polite client; {os.cpu_count()} processors, load {load}"
        print_table(title, [table_row(row) for row in rows], to_stderr=True)
    if faults:
        raise click.ClickException("; ".join(faults))


if __name__ == "__main__":
    main()
