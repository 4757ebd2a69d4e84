"""How fast does a Coordinator assign, and how soon is the cluster balanced? `python benchmarks/druid/coordinator.py`.

100,000 segments, two copies each, over 20 Historicals without files (simulated_historicals.py): a real server with
fsync, a real Coordinator process, a real tree. Then 5 Historicals join, and 2 die by SIGKILL. JSON lines on stdout, a
table after.

What is simulated: that there is anything to load. The Historicals are this project's own announcers and load workers in
real sessions, with 8 lanes each, but a load is done at once and a drop deletes nothing; and all of them are in three
processes. The server, the Coordinator and the Historicals share this machine's cores, so beside the time there is the
CPU time that each took. After the first reading of the metadata, which is not counted, the time begins.

`moved` is what a phase moved: of the joined ones' share, 5/25 of all copies, no more need be. A death shows only once
the session is over (10 s), and further replicas wait for a grace (10 s) for the server to come back.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
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
_DONE, _MOVED, _ASSIGNED = (f"druid_segment_{name}" for name in ("loadQueue_success", "moved_count", "assigned_count"))
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
        self.pids: dict[str, list[int]] = {"server": [_server_pid()], "coordinator": [], "historicals": []}
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
        self.pids["historicals"].append(process.pid)
        return process

    async def start_coordinator(self, metadata: Path) -> None:
        """The Coordinator."""
        common = ["--coord", f"coord://{self.server}/druid", "--port", "0", "--data-dir", str(self.directory / "c")]
        process, ready = await self.start(
            "coordinator", ["-m", "cli", "druid", "coordinator", *common, "--metadata", str(metadata)]
        )
        self.coordinator, self.pids["coordinator"] = ready.split()[-1], [process.pid]

    def cpu_s(self) -> dict[str, float]:
        """The CPU time that each part has taken."""
        return {part: sum(map(_cpu_s, pids)) for part, pids in self.pids.items()}

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
            moved = numbers[_MOVED], numbers[_ASSIGNED]
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


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it was killed
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


@attrs.frozen
class Phase:
    """The beginning of something that is measured."""

    cluster: Cluster
    begun: float
    cpu_s: Mapping[str, float]
    moved: float

    @classmethod
    def begin(cls, cluster: Cluster, numbers: Mapping[str, float]) -> Phase:
        """Begin now; `numbers` are the newest there are."""
        return cls(cluster, trio.current_time(), cluster.cpu_s(), numbers.get(_MOVED, 0.0))

    async def row(self, what: str, seconds: float, orders: float, numbers: Mapping[str, float]) -> dict[str, Any]:
        """What came of it."""
        cluster = self.cluster
        cpu_s = {part: round(now - self.cpu_s[part], 1) for part, now in cluster.cpu_s().items()}
        server = await cluster.numbers(f"http://{cluster.server}")
        fewest, most = await cluster.spread()
        return {
            "what": what,
            "seconds": round(seconds, 1),
            "orders_per_s": round(orders / seconds),
            "moved": round(numbers.get(_MOVED, 0.0) - self.moved),
            "fewest": fewest,
            "most": most,
            **{f"{part}_cpu_s": seconds for part, seconds in cpu_s.items()},
            "watches": round(server["watch_count"]),
            "znodes": round(server["znode_count"]),
            "server_mb": round(_rss_mb(cluster.pids["server"][0])),
            "coordinator_mb": round(_rss_mb(cluster.pids["coordinator"][0])),
        }


async def measure(count: int, servers: int, joining: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """The phases, a row each."""
    with tempfile.TemporaryDirectory(prefix="coord-bench-") as name:
        directory = Path(name)
        metadata = directory / "metadata.sqlite"
        await publish(metadata, made_segments(count))
        async with running(directory) as cluster:
            await cluster.historicals(0, servers - DYING)
            dying = await cluster.historicals(servers - DYING, DYING)
            await cluster.start_coordinator(metadata)
            numbers = await cluster.until(lambda n: n.get("druid_segment_count", 0.0) == count)
            phase = Phase.begin(cluster, numbers)
            numbers = await cluster.until(
                lambda n: n.get(_DONE, 0.0) >= count and not n.get("druid_segment_unavailable_count")
            )
            tell(await phase.row("first copies", trio.current_time() - phase.begun, count, numbers))
            numbers = await cluster.until(lambda n: n.get(_DONE, 0.0) >= 2 * count and not _busy(n))
            tell(await phase.row("all copies", trio.current_time() - phase.begun, 2 * count, numbers))
            phase = Phase.begin(cluster, numbers)
            seconds, numbers = await cluster.balanced(phase.begun)
            tell(await phase.row("balanced", max(seconds, POLL_S), numbers[_MOVED] - phase.moved, numbers))
            phase = Phase.begin(cluster, numbers)
            await cluster.historicals(servers, joining)
            seconds, numbers = await cluster.balanced(phase.begun)
            tell(await phase.row(f"{joining} joined", seconds, numbers[_MOVED] - phase.moved, numbers))
            assigned = numbers[_ASSIGNED]
            cluster.pids["historicals"].remove(dying.pid)
            phase = Phase.begin(cluster, numbers)
            dying.kill()
            await trio.sleep(SETTLED_S)  # the session's timeout: until then nothing is wanting
            seconds, numbers = await cluster.balanced(phase.begun)
            tell(await phase.row(f"{DYING} died", seconds, numbers[_ASSIGNED] - assigned, numbers))


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
