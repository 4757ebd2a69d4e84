"""How fast is it against ZooKeeper? The same jute bytes to Debian's ZooKeeper and to ours, fsync on.

Run with `python benchmarks/jute.py`; JSON lines on stdout (every single measure), a table of medians on stderr.

Both servers run all the time; each cell is asked of one after the other, in interleaved rounds after one round that
warms up. A third column is ours over the native protocol. Ratios say how many times as good as ZooKeeper: above 1 is
better, whether the measure is a rate or a time.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import click

from cli.render import print_json, print_table
from load.cells import KEPT, Cell, Target, cells, fill, furnish
from load.speech import JuteSpeech, NativeSpeech, WireProtocol
from peers import ours, zookeeper
from peers.process import PeerProcess

ZOOKEEPER, OURS, NATIVE = "ZooKeeper", "ours", "ours, native"
_WARM_S = 0.5
_SETTLE_S = 2.0
_MANY_CLIENTS = 200
"""Who have a znode of their own."""

Start = Callable[[Path], PeerProcess]


@attrs.define
class Results:
    """Measures by cell, measure and column, in the order in which they came."""

    found: dict[tuple[str, str], dict[str, list[float]]] = attrs.field(factory=dict)

    def add(self, cell: str, column: str, measures: dict[str, float]) -> None:
        """Keep and print."""
        for measure, value in measures.items():
            self.found.setdefault((cell, measure), {}).setdefault(column, []).append(value)
        print_json({"cell": cell, "server": column, **{name: round(value, 3) for name, value in measures.items()}})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Medians, and how they compare."""
        for (cell, measure), columns in self.found.items():
            medians = {column: statistics.median(values) for column, values in columns.items()}
            row: dict[str, Any] = {"work": cell, "measure": measure}
            for column in (ZOOKEEPER, OURS, NATIVE):
                row[column] = medians.get(column)
            for column in (OURS, NATIVE):
                row[f"{column} ×"] = _ratio(measure, medians.get(column), medians.get(ZOOKEEPER))
            yield row


def _ratio(measure: str, value: float | None, reference: float | None) -> str:
    if not value or not reference:
        return "-"
    return f"{value / reference if measure == 'per second' else reference / value:.2f}"


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(",") if part)
    except ValueError:
        raise click.BadParameter("not numbers with commas between them") from None


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seconds", type=float, default=2.0, show_default=True, help="At most so long for each cell and server.")
@click.option("--clients", default="10,50,200", show_default=True, callback=_numbers, help="Who ask one at a time.")
@click.option("--only", default="", metavar="REGEX", help="Cells to measure, by what the table calls them.")
@click.option("--without", multiple=True, type=click.Choice(["zookeeper", "native", "start"]), help="Leave out.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where data goes, on a real disk.")
def main(
    rounds: int, seconds: float, clients: tuple[int, ...], only: str, without: tuple[str, ...], directory: Path | None
) -> None:
    """Measure and print."""
    starts: dict[str, Start] = {OURS: ours.start}
    if "zookeeper" not in without and zookeeper.present():
        starts = {ZOOKEEPER: zookeeper.start, **starts}
    else:
        click.echo("without ZooKeeper: no ratios", err=True)
    wanted = {name: cell for name, cell in cells(clients).items() if re.search(only, name)}
    results = Results()
    with tempfile.TemporaryDirectory(prefix="coord-bench-", dir=directory) as temporary:
        if wanted:
            _compare(results, starts, wanted, Path(temporary), rounds, seconds, native="native" not in without)
        if "start" not in without:
            _start_and_memory(results, starts, Path(temporary), rounds)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    title = f"{rounds} rounds, medians; {os.cpu_count()} processors, load {load}"
    print_table(title, list(results.rows()), to_stderr=True)


def _compare(
    results: Results,
    starts: dict[str, Start],
    wanted: dict[str, Cell],
    directory: Path,
    rounds: int,
    seconds: float,
    *,
    native: bool,
) -> None:
    with ExitStack() as stack:
        ports: dict[str, int] = {}
        for name, start in starts.items():
            peer = start(directory / name)
            stack.callback(peer.end)
            furnish(peer.port, JuteSpeech(), _MANY_CLIENTS)
            ports[name] = peer.port
        columns: list[tuple[str, int, WireProtocol]] = [(name, port, JuteSpeech()) for name, port in ports.items()]
        if native:
            columns.append((NATIVE, ports[OURS], NativeSpeech()))
        for cell in wanted.values():
            for _, port, speech in columns:
                cell(Target(port, speech, min(_WARM_S, seconds)))
        for _ in range(rounds):
            for name, cell in wanted.items():
                for column, port, speech in columns:
                    results.add(name, column, cell(Target(port, speech, seconds)))


def _start_and_memory(results: Results, starts: dict[str, Start], directory: Path, rounds: int) -> None:
    for turn in range(rounds):
        for name, start in starts.items():
            peer = start(directory / f"{name}-{turn}")
            try:
                results.add("start to first session", name, {"ms": peer.start_s * 1e3})
                if turn == 0:
                    _memory(results, name, peer)
            finally:
                peer.end()


def _memory(results: Results, name: str, peer: PeerProcess) -> None:
    results.add("memory, empty", name, {"MB": peer.rss_bytes() / 1e6})
    fill(Target(peer.port, JuteSpeech(), 0))
    time.sleep(_SETTLE_S)
    results.add(f"memory, {KEPT:,} znodes of 100 B", name, {"MB": peer.rss_bytes() / 1e6})


if __name__ == "__main__":
    main()
