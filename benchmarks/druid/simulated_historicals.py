"""Historicals without files, for measuring Coordinators: real sessions, announcements and load queues, nothing to load.

    python benchmarks/druid/simulated_historicals.py --server HOST:PORT --first 0 --count 20

One process for all of them. Prints READY once all are announced, and runs until it is killed.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import click
import trio

from coordserver.client import connect
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.load_queue_runner import LoadWorker
from druidroles.coordination.load_queue_server import LoadQueueView
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.status import announced_status
from druidroles.lifeline import follow_parent
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata, NodeRole

LOAD_THREADS = 8
SESSION_TIMEOUT_S = 10
MAX_SIZE = 10**14


class NoFiles:
    """A SegmentKeeper that has everything at once."""

    async def load(self, segment: DataSegment) -> None:
        """Nothing to do."""
        await trio.lowlevel.checkpoint()

    def drop(self, segment_id: str) -> None:
        """Nothing to do."""


async def historical(address: str, name: str, *, task_status: trio.TaskStatus[None]) -> None:
    """One of them, for ever."""
    paths = DruidPaths()
    metadata = DruidServerMetadata(name, host=name, max_size=MAX_SIZE)
    async with AsyncExitStack() as stack:
        zk = await stack.enter_async_context(connect(address, session_timeout=SESSION_TIMEOUT_S, name=name))
        for path in (*paths.layout(), paths.load_queue_of(name)):
            await zk.ensure_path(path)
        announcer = await stack.enter_async_context(announced_server(zk, paths, metadata))
        await stack.enter_async_context(announced_status(zk, paths, NodeRole.HISTORICAL, name, {}))
        queue = await stack.enter_async_context(LoadQueueView(zk, paths, name))
        task_status.started()
        await LoadWorker(zk, queue, announcer, NoFiles(), load_threads=LOAD_THREADS).run()


async def run(address: str, first: int, count: int) -> None:
    """All of them."""
    async with trio.open_nursery() as nursery:
        for number in range(first, first + count):
            await nursery.start(historical, address, f"historical-{number}:8083")
        click.echo("READY")


@click.command()
@click.option("--server", required=True)
@click.option("--first", type=int, default=0)
@click.option("--count", type=int, default=20)
def main(server: str, first: int, count: int) -> None:
    """Run some Historicals."""
    follow_parent()
    trio.run(run, server, first, count)


if __name__ == "__main__":
    main()
