"""What a snapshot costs those who are being served meanwhile: a real server with many znodes, a client beside it.

    python benchmarks/snapshot.py --znodes 1000000

One client reads and sets one at a time, once without a snapshot and once while one is written; a second one may set as
fast as it is answered. Told: how long the start took (recovery of a snapshot of so many znodes), how long the snapshot
took, how the times of requests were spread, how long the server waited for a processor (others' work: judge a machine
that is quiet), and its memory before, at most, and after.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import trio

from coordserver.client import Client, connect
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine
from coordserver.storage import FileDisk, recover_state, save_snapshot

QUIET_S = 5.0
EVERY = 20_000
READY_S = 300.0


def fill(directory: Path, znodes: int, data: int) -> None:
    """A data directory whose newest snapshot has so many znodes, a thousand below each parent."""
    machine = Machine.new(bytes(16))
    disk = FileDisk(directory)
    recovered = recover_state(disk, Machine, entropy=lambda size: bytes(size))
    machine = recovered.machine
    index = machine.index
    for number in range(znodes):
        path = f"/p{number // 1000}" if number % 1000 == 0 else f"/p{number // 1000}/n{number % 1000}"
        index += 1
        machine.apply(index, Record(int(Op.CREATE), 0, 0, 0, 10**12 + number, (), (path, bytes(data), None, 0, 0)))
        if number % 10_000 == 9_999:
            print(f"\r{number + 1} znodes", end="", file=sys.stderr)
    for start in range(0, index, 1000):
        noops = [Record(int(Op.NOOP), 0, 0, 0, 0, (), ())] * min(1000, index - start)
        recovered.log.append(noops, start + 1)
    recovered.log.close()
    save_snapshot(disk, machine)
    print(file=sys.stderr)


def resident(pid: int, what: str = "VmRSS") -> int:
    """MB of memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) // 1024
    return 0


def starved_ms(pid: int) -> float:
    """How long a process's first thread could run and waited for a processor: others' work, no fault of its own."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e6


def spread(name: str, told: list[float]) -> dict[str, float]:
    """How long requests took, in ms."""
    told = sorted(told)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {f"{name}_{key}_ms": round(told[int(len(told) * share)], 2) for key, share in shares.items()}
    return {**found, f"{name}_max_ms": round(told[-1], 2)}


def writing(directory: Path) -> bool:
    """Whether the server is at a snapshot."""
    return bool(list(directory.glob("snapshot.*.tmp")))


async def probe(zk: Client, until: trio.Event, told: list[float]) -> None:
    """Read and set in turn, and note how long each took, in ms."""
    number = 0
    while not until.is_set():
        number += 1
        started = time.perf_counter()
        if number % 2:
            await zk.get("/p0/n1")
        else:
            await zk.set("/p0/n1", b"%d" % number)
        told.append((time.perf_counter() - started) * 1e3)
        await trio.sleep(0.001)


async def press(zk: Client, until: trio.Event, znodes: int) -> None:
    """Set znodes all over the tree, as fast as is answered."""
    at = 0
    while not until.is_set():
        at = (at + 7919) % znodes
        if at % 1000:
            await zk.set(f"/p{at // 1000}/n{at % 1000}", b"changed meanwhile")
        else:
            await trio.lowlevel.checkpoint()


async def measure(address: str, pid: int, directory: Path, znodes: int, writers: int) -> dict[str, object]:
    """Both times, and the memory."""
    before = resident(pid)
    async with connect(address, session_timeout=10) as zk:
        quiet: list[float] = []
        busy: list[float] = []
        end = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe, zk, end, quiet)
            for _ in range(writers):
                nursery.start_soon(press, zk, end, znodes)
            await trio.sleep(QUIET_S)
            end.set()
        end = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(64):
                nursery.start_soon(press, zk, end, znodes)
            while not writing(directory):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)
            end.set()
        started, starved = time.perf_counter(), starved_ms(pid)
        most = before
        end = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe, zk, end, busy)
            for _ in range(writers):
                nursery.start_soon(press, zk, end, znodes)
            while writing(directory):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.02)
                most = max(most, resident(pid))
            end.set()
        elapsed = time.perf_counter() - started
    return {
        "snapshot_s": round(elapsed, 2),
        **spread("quiet", quiet),
        **spread("busy", busy),
        "busy_starved_ms": round(starved_ms(pid) - starved),
        "rss_before_mb": before,
        "rss_most_mb": most,
        "rss_after_mb": resident(pid),
    }


@click.command()
@click.option("--znodes", default=1_000_000, show_default=True)
@click.option("--data", default=100, show_default=True, help="Bytes of each.")
@click.option("--writers", default=0, show_default=True, help="Tasks that set all over the tree meanwhile.")
def main(znodes: int, data: int, writers: int) -> None:
    """Measure, and print one line of JSON."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        filling = subprocess.run(
            [sys.executable, __file__, "--fill", str(directory), str(znodes), str(data)], check=False
        )
        if filling.returncode:
            raise click.ClickException("cannot make the data directory")
        started = time.perf_counter()
        command = [sys.executable, "-m", "cli", "server", "--data-dir", str(directory), "--listen", "127.0.0.1:0"]
        with subprocess.Popen([*command, "--snapshot-every", str(EVERY)], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            ready = server.stdout.readline().decode().strip()
            start_s = time.perf_counter() - started
            try:
                found = trio.run(measure, ready.split()[-1], server.pid, directory, znodes, writers)
            finally:
                server.kill()
        print(json.dumps({"znodes": znodes, "writers": writers, "start_s": round(start_s, 2), **found}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
