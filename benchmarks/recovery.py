"""How long does a start take on a large tree, against ZooKeeper? The same znodes made over the same protocol in both.

    python benchmarks/recovery.py --znodes 1000000

Each server is filled, stopped and started again, and the time is taken from its start to the first session that it
accepts. Twice: once with the snapshots that it takes by default, once with none but the whole log. ZooKeeper takes a
snapshot of what it has read before it serves, so its second start has no log to read; both starts are told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import click

from cli.render import print_json
from load.cells import DATA
from load.lines import Request, lines, pipelined
from load.speech import JuteSpeech, create
from peers import ours, zookeeper
from peers.process import PeerProcess

SIBLINGS = 1_000
CHUNK = 20_000
ENOUGH_S = 120
NEVER = 2_000_000_000
HEAP = "-Xmx3g"
"""A million znodes do not fit into the thousand MB that Debian gives it."""


def tree(znodes: int) -> Iterator[Request]:
    """A thousand below each parent."""
    for number in range(znodes):
        parent, at = divmod(number, SIBLINGS)
        yield create(f"/p{parent}/n{at}" if at else f"/p{parent}", DATA)


def fill(port: int, znodes: int) -> None:
    """Make the tree, over one connection."""
    with lines(port, JuteSpeech(), 1) as [line]:
        requests = tree(znodes)
        while some := list(islice(requests, CHUNK)):
            done, _ = pipelined(line, line.encode(some), ENOUGH_S)
            if done != len(some):
                raise click.ClickException("the server does not take the tree")


def measure(name: str, znodes: int, snapshot_every: int) -> None:
    """Fill, stop, start, stop, start."""
    begin = ours.start if name == "ours" else partial(zookeeper.start, heap=HEAP)
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made) / name
        server: PeerProcess = begin(directory, snapshot_every)
        try:
            fill(server.port, znodes)
            for attempt in (1, 2):
                if snapshot_every == NEVER:
                    server.end()  # a graceful stop would leave a snapshot
                else:
                    server.stop()
                server = begin(directory, snapshot_every)
                print_json(
                    {
                        "server": name,
                        "from": "log" if snapshot_every == NEVER else "snapshots and log",
                        "start": attempt,
                        "start_s": round(server.start_s, 2),
                        "cpu_s": round(server.cpu_s(), 2),
                        "rss_mb": server.rss_bytes() >> 20,
                    }
                )
        finally:
            server.end()


@click.command()
@click.option("--znodes", default=1_000_000, show_default=True)
@click.option("--only", type=click.Choice(["ours", "ZooKeeper"]), default=None, help="One of the two.")
@click.option("--log/--snapshots", "log", default=None, help="One of the two ways.")
def main(znodes: int, only: str | None, log: bool | None) -> None:
    """Measure, and print a line of JSON a start."""
    for every in (100_000, NEVER):
        if log is not None and log is not (every == NEVER):
            continue
        for name in (only,) if only else ("ZooKeeper", "ours"):
            measure(name, znodes, every)


if __name__ == "__main__":
    main()
