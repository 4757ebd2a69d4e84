"""How fast does one server answer? Run with `python benchmarks/latency.py`; JSON lines on stdout, a table on stderr.

    --clients 1,10,50   a run for each; every client asks one at a time
    --pipelined 1,64    instead: rates of one client with so many tasks

Without --server each run has a fresh server process of its own, fsync on.
"""

from __future__ import annotations

from typing import Any

import click
import trio

from cli.bench.latency import measure
from cli.bench.pipelined import rates
from cli.bench.screen import progress_shown
from cli.bench.server import running_server
from cli.render import print_json, print_table


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int]:
    try:
        return [int(part) for part in value.split(",")] if value else []
    except ValueError:
        raise click.BadParameter("not numbers with commas between them") from None


@click.command()
@click.option("--server", metavar="HOST:PORT", help="A running server.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="For each operation.")
@click.option("--clients", default="1", show_default=True, callback=_numbers, help="Numbers of clients.")
@click.option("--pipelined", callback=_numbers, help="Numbers of tasks on one client.")
def main(server: str | None, seconds: float, clients: list[int], pipelined: list[int]) -> None:
    """Measure and print."""
    rows: list[dict[str, Any]] = []
    if pipelined:
        for tasks in pipelined:
            rows += trio.run(_pipelined, server, tasks, seconds)
    else:
        for number in clients:
            rows += trio.run(_latency, server, number, seconds)
    for row in rows:
        print_json(row)
    print_table("Pipelined" if pipelined else "Latency, µs", rows, to_stderr=True)


async def _latency(server: str | None, clients: int, seconds: float) -> list[dict[str, Any]]:
    async with running_server(server) as address:
        with progress_shown() as progress:
            results = await measure(address, clients=clients, seconds=seconds, progress=progress)
    return [samples.summary().as_json() for samples in results]


async def _pipelined(server: str | None, tasks: int, seconds: float) -> list[dict[str, Any]]:
    async with running_server(server) as address:
        with progress_shown() as progress:
            return await rates(address, tasks=tasks, seconds=seconds, progress=progress)


if __name__ == "__main__":
    main()
