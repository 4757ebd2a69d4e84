"""How long does a Broker take until it knows every segment? Run with `python benchmarks/druid/broker_view.py`.

A server process and a tree in which `--servers` announce `--segments` segments, each by two of them, in Druid's batches
of 50. Then Broker processes are started cold, one after the other, and timed from their start to READY; what the role
itself took is its metric `init/serverview/time`. JSON lines on stdout, a table on stderr.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import click
import httpx2
import trio

from cli.bench.server import running_server
from cli.render import print_json, print_table
from coordserver.client import connect
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.paths import DruidPaths
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata
from druidroles.model.shardspec import numbered

HOUR_MS = 3_600_000
START_MS = 1_356_998_400_000  # 2013-01-01
DATA_SOURCES = 10
COPIES = 2
_SERVERVIEW = re.compile(r"^druid_init_serverview_time_sum (\S+)$", re.MULTILINE)


def segments(count: int) -> Iterator[DataSegment]:
    """So many segments of an hour each, in ten datasources."""
    for number in range(count):
        hour, data_source = divmod(number, DATA_SOURCES)
        start = START_MS + hour * HOUR_MS
        yield DataSegment(
            data_source=f"events_{data_source}",
            interval=Interval(start, start + HOUR_MS),
            version="2024-01-01T00:00:00.000Z",
            load_spec={"type": "local", "path": f"/deep-storage/events_{data_source}/{hour}/0/index.parquet"},
            dimensions=("country", "city", "device", "browser", "channel", "user", "page", "referrer"),
            metrics=("count", "duration", "bytes"),
            shard_spec=numbered(0, 1),
            binary_version=10,
            size=50_000_000,
        )


@asynccontextmanager
async def announced(address: str, servers: int, count: int) -> AsyncIterator[None]:
    """The tree: each segment at two servers, all of them of sessions that live as long as the block."""
    paths = DruidPaths("/druid")
    shares: list[list[DataSegment]] = [[] for _ in range(servers)]
    for number, segment in enumerate(segments(count)):
        for copy in range(COPIES):
            shares[(number + copy * 7) % servers].append(segment)
    async with AsyncExitStack() as stack:
        for number, share in enumerate(shares):
            zk = await stack.enter_async_context(connect(address, session_timeout=60))
            for path in paths.layout() if number == 0 else ():
                await zk.ensure_path(path)
            name = f"10.0.0.{number + 1}:8083"
            metadata = DruidServerMetadata(name, host=name, max_size=10**13)
            await stack.enter_async_context(announced_server(zk, paths, metadata, share))
        yield


async def time_broker(address: str, directory: Path) -> dict[str, Any]:
    """Start one Broker, wait for READY, ask for its metric, end it."""
    arguments = ["--coord", f"coord://{address}/druid", "--port", "0", "--data-dir", str(directory)]
    begun = trio.current_time()
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "cli", "druid", "broker", *arguments], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    try:
        text = ""
        while "READY" not in text:
            chunk = await process.stdout.receive_some()
            if not chunk:
                raise click.ClickException("the Broker ended before it was ready")
            text += chunk.decode()
        ready = trio.current_time() - begun
        async with httpx2.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(text.split()[-1] + "/metrics")).text
        found = _SERVERVIEW.search(metrics)
        status = Path(f"/proc/{process.pid}/status").read_text()  # noqa: ASYNC240 - no file
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()  # noqa: ASYNC240
        return {
            "ready_s": round(ready, 2),
            "serverview_s": round(float(found[1]), 2) if found else None,
            "cpu_s": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"),
            "memory_mib": int(status.split("VmHWM:")[1].split()[0]) // 1024,
        }
    finally:
        process.terminate()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 15):
            await process.wait()


@click.command()
@click.option("--servers", default=20, show_default=True)
@click.option("--segments", "count", default=100_000, show_default=True)
@click.option("--runs", default=3, show_default=True)
def main(servers: int, count: int, runs: int) -> None:
    """Measure and print."""
    rows = trio.run(_measure, servers, count, runs)
    for row in rows:
        print_json(row)
    print_table("Cold view of a Broker", rows, to_stderr=True)


async def _measure(servers: int, count: int, runs: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        async with running_server(None) as address, announced(address, servers, count):
            for run in range(runs):
                row = await time_broker(address, Path(directory) / str(run))
                rows.append({"servers": servers, "segments": count, "copies": COPIES, "run": run + 1, **row})
    return rows


if __name__ == "__main__":
    main()
