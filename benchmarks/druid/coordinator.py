"""How fast does a Coordinator assign, and how soon is the cluster balanced? `python benchmarks/druid/coordinator.py`.

100,000 segments, two copies each, over 20 Historicals without files (simulated_historicals.py): a real server, a real
Coordinator process, a real tree. Then 5 Historicals join, and 2 die by SIGKILL. JSON lines on stdout, a table after.

The server, the Coordinator and all Historicals share this machine's cores: on two of them the Historicals' half of the
work, 200,000 requests to be started, announced and deleted, weighs as much as the Coordinator's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import click
import httpx2
import trio

from cli.bench.server import running_server
from cli.render import print_json, print_table
from druidroles.lifeline import Lifeline
from druidroles.metadata import LeaderEpoch, Publication, TaskRow, open_sqlite_store
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment
from druidroles.model.shardspec import numbered
from druidroles.model.task import TaskLock

DATA_SOURCES = 10
DYING = 2
SIZE = 500_000_000
PUBLISHED_TOGETHER = 5_000
POLL_S = 0.5
SETTLED_S = 10.0  # without a move until the cluster counts as balanced
OVERLORD = LeaderEpoch(role="overlord", epoch=1)
_DONE = "druid_segment_loadQueue_success"
_SAMPLE = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.M)


def made_segments(count: int) -> list[DataSegment]:
    """Days of some datasources, several partitions each."""
    segments = []
    per_source = count // DATA_SOURCES
    partitions = max(per_source // 500, 1)
    for source in range(DATA_SOURCES):
        for number in range(per_source):
            day, part = divmod(number, partitions)
            segments.append(
                DataSegment(
                    f"source{source}",
                    Interval((15_000 + day) * MS_PER_DAY, (15_001 + day) * MS_PER_DAY),
                    "2024-01-01T00:00:00.000Z",
                    load_spec={"type": "local", "path": f"/deep/source{source}/{day}/{part}"},
                    dimensions=("carrier", "origin", "dest"),
                    shard_spec=numbered(part, partitions),
                    size=SIZE,
                )
            )
    return segments


async def publish(metadata: Path, segments: list[DataSegment]) -> None:
    """Put them into a new metadata store, as tasks do."""
    span = Interval(0, 40_000 * MS_PER_DAY)
    async with open_sqlite_store(metadata) as store:
        await store.raise_epoch(OVERLORD)
        for start in range(0, len(segments), PUBLISHED_TOGETHER):
            some, task = segments[start : start + PUBLISHED_TOGETHER], f"task{start}"
            row = TaskRow(
                id=task, data_source="-", type="noop", group_id=task, created_date="2024", payload={}, status={}
            )
            await store.insert_task(OVERLORD, row)
            attempt = await store.begin_attempt(OVERLORD, task, "worker")
            assert attempt is not None
            for source in {segment.data_source for segment in some}:
                await store.add_lock(OVERLORD, task, TaskLock(task, source, span, some[0].version).to_json(), ())
            await store.publish_segments(OVERLORD, Publication(task_id=task, attempt=attempt, segments=some))


class Cluster:
    """The processes, and what they tell of themselves."""

    def __init__(self, server: str, directory: Path, lifeline: Lifeline, nursery: trio.Nursery) -> None:
        self.server = server
        self.directory = directory
        self.http = httpx2.AsyncClient(timeout=60, trust_env=False)
        self.coordinator = ""
        self.coordinator_pid = 0
        self._lifeline = lifeline
        self._nursery = nursery

    async def start(self, name: str, arguments: list[str]) -> tuple[trio.Process, str]:
        """Start a process; returns it and its READY line."""
        with (self.directory / f"{name}.log").open("wb") as sink:
            process = await trio.lowlevel.open_process(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=[self._lifeline.read_fd],
                env={**os.environ, **self._lifeline.environment},
            )
        assert process.stdout is not None
        text = ""
        while "READY" not in text or not text.endswith("\n"):
            chunk = await process.stdout.receive_some()
            if not chunk:
                raise RuntimeError(f"{name} did not start:\n{(self.directory / f'{name}.log').read_text()[-2000:]}")
            text += chunk.decode()
        return process, text.strip()

    async def historicals(self, first: int, count: int) -> trio.Process:
        """Some Historicals in one process."""
        script = str(Path(__file__).with_name("simulated_historicals.py"))
        options = ["--server", self.server, "--first", str(first), "--count", str(count)]
        process, _ = await self.start(f"historicals-{first}", [script, *options])
        return process

    async def start_coordinator(self, metadata: Path) -> None:
        """The Coordinator."""
        common = ["--coord", f"coord://{self.server}/druid", "--port", "0", "--data-dir", str(self.directory / "c")]
        process, ready = await self.start(
            "coordinator", ["-m", "cli", "druid", "coordinator", *common, "--metadata", str(metadata)]
        )
        self.coordinator, self.coordinator_pid = ready.split()[-1], process.pid

    async def numbers(self, url: str) -> dict[str, float]:
        """The sums of all metrics of a process."""
        sums: dict[str, float] = {}
        for name, value in _SAMPLE.findall((await self.http.get(url + "/metrics")).text):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    async def until(self, done: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Poll the Coordinator's metrics."""
        while True:
            numbers = await self.numbers(self.coordinator)
            if done(numbers):
                return numbers
            await trio.sleep(POLL_S)

    async def balanced(self, begun: float) -> tuple[float, dict[str, float]]:
        """Wait until nothing is wanting or moving for a while; since when, in seconds, and the numbers."""
        last, seen = trio.current_time(), (-1.0, -1.0)
        while True:
            numbers = await self.numbers(self.coordinator)
            moved = numbers["druid_segment_moved_count"], numbers["druid_segment_assigned_count"]
            if moved != seen or _busy(numbers):
                last, seen = trio.current_time(), moved
            elif trio.current_time() - last > SETTLED_S:
                return last - begun, numbers
            await trio.sleep(POLL_S)

    async def spread(self) -> tuple[int, int]:
        """The fewest and the most segments of a server."""
        servers = (await self.http.get(self.coordinator + "/druid/coordinator/v1/servers?simple")).json()
        counts = [server["currSize"] // SIZE for server in servers]
        return min(counts), max(counts)


def _busy(numbers: dict[str, float]) -> bool:
    names = ("loadQueue_count", "dropQueue_count", "unavailable_count", "underReplicated_count")
    return any(numbers.get(f"druid_segment_{name}", 0.0) for name in names)


def _server_pid() -> int:
    """The server is the child that listens."""
    threads = Path("/proc/self/task").iterdir()
    children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
    return next(int(pid) for pid in children if b"--listen" in Path(f"/proc/{pid}/cmdline").read_bytes())


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Cluster]:
    """A server, and room for the rest."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_server(None))
        lifeline = stack.enter_context(closing(Lifeline()))
        nursery = await stack.enter_async_context(trio.open_nursery())
        cluster = Cluster(address, directory, lifeline, nursery)
        stack.push_async_callback(cluster.http.aclose)
        yield cluster
        nursery.cancel_scope.cancel()


async def measure(count: int, servers: int, joining: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """The phases, a row each."""
    with tempfile.TemporaryDirectory(prefix="coord-bench-") as name:
        directory = Path(name)
        metadata = directory / "metadata.sqlite"
        await publish(metadata, made_segments(count))
        async with running(directory) as cluster:
            await cluster.historicals(0, servers - DYING)
            dying = await cluster.historicals(servers - DYING, DYING)
            begun = trio.current_time()
            await cluster.start_coordinator(metadata)
            await cluster.until(lambda n: n.get("druid_segment_count", 0.0) == count)
            read_s = trio.current_time() - begun
            first = await cluster.until(
                lambda n: n.get(_DONE, 0.0) >= count and not n.get("druid_segment_unavailable_count")
            )
            first_s = trio.current_time() - begun
            await cluster.until(lambda n: n.get(_DONE, 0.0) >= 2 * count and not _busy(n))
            loaded_s = trio.current_time() - begun
            tell(await _row(cluster, "assigned", loaded_s, first, per_second=2 * count / (loaded_s - read_s)))
            tell(await _row(cluster, "first copies", first_s, first, per_second=count / (first_s - read_s)))
            _, numbers = await cluster.balanced(begun)
            moved = numbers["druid_segment_moved_count"]
            begun = trio.current_time()
            await cluster.historicals(servers, joining)
            seconds, numbers = await cluster.balanced(begun)
            orders = numbers["druid_segment_moved_count"] - moved
            tell(await _row(cluster, f"{joining} joined", seconds, numbers, per_second=orders / seconds))
            assigned = numbers["druid_segment_assigned_count"]
            begun = trio.current_time()
            dying.kill()
            await trio.sleep(SETTLED_S)  # the session's timeout: until then nothing is wanting
            seconds, numbers = await cluster.balanced(begun)
            orders = numbers["druid_segment_assigned_count"] - assigned
            tell(await _row(cluster, f"{DYING} died", seconds, numbers, per_second=orders / seconds))


async def _row(
    cluster: Cluster, what: str, seconds: float, numbers: dict[str, float], *, per_second: float
) -> dict[str, Any]:
    server = await cluster.numbers(f"http://{cluster.server}")
    fewest, most = await cluster.spread()
    return {
        "what": what,
        "seconds": round(seconds, 1),
        "orders_per_s": round(per_second),
        "moved": round(numbers["druid_segment_moved_count"]),
        "fewest": fewest,
        "most": most,
        "watches": round(server["watch_count"]),
        "znodes": round(server["znode_count"]),
        "server_mb": round(_rss_mb(_server_pid())),
        "coordinator_mb": round(_rss_mb(cluster.coordinator_pid)),
    }


@click.command()
@click.option("--segments", type=int, default=100_000, show_default=True)
@click.option("--servers", type=click.IntRange(min=4), default=20, show_default=True)
@click.option("--joining", type=int, default=5, show_default=True)
def main(segments: int, servers: int, joining: int) -> None:
    """Measure and print."""
    rows: list[dict[str, Any]] = []

    def tell(row: dict[str, Any]) -> None:
        print_json(row)
        rows.append(row)

    trio.run(measure, segments, servers, joining, tell)
    print_table(f"{segments} segments, two copies each, over {servers} Historicals", rows, to_stderr=True)


if __name__ == "__main__":
    main()
