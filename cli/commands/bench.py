"""`coord bench`: how fast a coordination server answers."""

from __future__ import annotations

from typing import Any

import click

from cli.render import output_option, print_json, print_table


@click.group("bench")
def command() -> None:
    """Measure latencies and rates."""


@command.command("latency")
@click.option(
    "--server", envvar="COORD_SERVER", metavar="HOST:PORT", help="A running server; without it one is started."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=3.0, help="For each operation.")
@click.option("--clients", type=click.IntRange(1, 1_000), default=1, help="Each asks one at a time.")
@output_option
def latency(server: str | None, seconds: float, clients: int, output: str | None) -> None:
    """Percentiles and rate of get, set, create, delete and watch notification.

    The clients live in this process, each with a session of its own: with many of them its own work is measured too.
    """
    from cli.bench.errors import BenchError
    from cli.running import run
    from coordserver.client import CoordError
    from coordserver.client.transport import parse_hosts

    try:
        parse_hosts(server or "localhost")
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--server") from None
    run(lambda: _latency(server, seconds, clients, output == "json"), CoordError, BenchError, OSError)


async def _latency(server: str | None, seconds: float, clients: int, as_json: bool) -> None:
    from cli.bench.latency import measure
    from cli.bench.screen import progress_shown
    from cli.bench.server import running_server

    async with running_server(server) as address:
        with progress_shown() as progress:
            results = await measure(address, clients=clients, seconds=seconds, progress=progress)
    summaries = [samples.summary() for samples in results]
    if as_json:
        shown: dict[str, Any] = {"server": server, "clients": clients, "seconds": seconds}
        print_json(shown | {"results": [summary.as_json() for summary in summaries]})
    else:
        print_table(f"Latency at {server or 'a server of its own'}", [summary.as_row() for summary in summaries])
