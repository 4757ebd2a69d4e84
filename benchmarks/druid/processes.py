"""A Druid cluster of real processes on free ports, for benchmarks that kill and restart some of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import click
import httpx2
import trio

from cli.bench.server import running_server
from cli.quickstart.work import copy_data, ingestion_spec
from coordserver.client import Client, connect
from druidroles.lifeline import Lifeline

READY_S = 60.0
WAIT_S = 120.0
STOP_S = 12.0
ROWS = 27_004  # of the shipped file
_POLL_S = 0.01


@attrs.define(eq=False)
class Proc:
    """One role's process."""

    name: str
    kind: str
    process: trio.Process
    url: str


class Processes:
    """The cluster. `zk` is a client of its coordination server, `http` one for all of its roles."""

    def __init__(self, directory: Path, address: str, zk: Client, http: httpx2.AsyncClient, lifeline: Lifeline) -> None:
        self.directory = directory
        self.zk = zk
        self.http = http
        self.procs: dict[str, Proc] = {}
        self._address = address
        self._lifeline = lifeline

    async def start(self, name: str, kind: str, *more: str) -> Proc:
        """Start a role, or start it again at its old port, and wait until it is READY."""
        old = self.procs.get(name)
        port = old.url.rpartition(":")[2] if old is not None else "0"
        metadata = ("--metadata", str(self.directory / "metadata.sqlite"))
        deep_storage = ("--deep-storage", str(self.directory / "deep-storage"))
        extra = {
            "coordinator": metadata,
            "overlord": metadata,
            "historical": deep_storage,
            "middlemanager": (*deep_storage, "--task-port", "0", "--input-dir", str(self.directory)),
        }.get(kind, ())
        where = ("--coord", f"coord://{self._address}/druid", "--port", port, "--data-dir", str(self.directory / name))
        with (self.directory / f"{name}.log").open("ab") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "cli", "druid", kind, *where, *extra, *more],
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=[self._lifeline.read_fd],
                env={**os.environ, **self._lifeline.environment},
                start_new_session=True,
            )
        proc = self.procs[name] = Proc(name, kind, process, await self._ready(name, process))
        return proc

    async def _ready(self, name: str, process: trio.Process) -> str:
        assert process.stdout is not None
        text = ""
        with trio.move_on_after(READY_S):
            async for chunk in process.stdout:
                text += chunk.decode()
                if "READY" in text and text.endswith("\n"):
                    return text.split()[-1]
        raise click.ClickException(f"{name} did not start: {(self.directory / f'{name}.log').read_text()[-500:]}")

    async def terminate(self, name: str) -> None:
        """SIGTERM, and wait for the end."""
        self.procs[name].process.terminate()
        with trio.fail_after(STOP_S):
            await self.procs[name].process.wait()

    async def end(self) -> None:
        """End what is left."""
        for proc in self.procs.values():
            if proc.process.returncode is None:
                proc.process.terminate()
        with trio.move_on_after(STOP_S):
            for proc in self.procs.values():
                await proc.process.wait()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Poll until it holds; answers that do not come count as not yet."""
        with trio.fail_after(WAIT_S):
            while True:
                try:
                    if await condition():
                        return
                except (httpx2.HTTPError, ValueError, KeyError):
                    pass
                await trio.sleep(_POLL_S)

    async def get(self, name: str, path: str) -> Any:
        """JSON from one role."""
        return (await self.http.get(self.procs[name].url + path)).json()

    async def set_rules(self, replicants: dict[str, int]) -> None:
        """The default rules: these copies, for ever."""
        body = [{"type": "loadForever", "tieredReplicants": replicants}]
        url = self.procs["coordinator"].url + "/druid/coordinator/v1/rules/_default"
        (await self.http.post(url, json=body)).raise_for_status()

    async def submit(self, data_source: str) -> str:
        """Submit the shipped spec for a datasource; the task's id."""
        spec = ingestion_spec(await trio.to_thread.run_sync(copy_data, self.directory / "input"))
        spec["spec"]["dataSchema"]["dataSource"] = data_source
        answer = await self.http.post(self.procs["overlord"].url + "/druid/indexer/v1/task", json=spec)
        return str(answer.raise_for_status().json()["task"])

    async def count(self, data_source: str) -> int:
        """The rows that a query finds; HTTPError or ValueError where it is not answered."""
        body = {
            "queryType": "timeseries",
            "dataSource": data_source,
            "intervals": ["2013-01-01/2013-02-02"],
            "granularity": "all",
            "aggregations": [{"type": "count", "name": "n"}],
        }
        answer = await self.http.post(self.procs["broker"].url + "/druid/v2", json=body)
        rows = answer.raise_for_status().json()
        return int(rows[0]["result"]["n"]) if rows else 0

    async def loaded(self, data_source: str) -> None:
        """Until every segment is served as often as the rules say, nothing is in a queue, and every row is found."""

        async def check() -> bool:
            full = await self.get("coordinator", "/druid/coordinator/v1/loadstatus?full")
            queues = await self.get("coordinator", "/druid/coordinator/v1/loadqueue?simple")
            busy = any(n for queue in queues.values() for n in queue.values())
            under = any(n for tier in full.values() for n in tier.values())
            return not busy and not under and await self.count(data_source) == ROWS

        await self.until(check)

    async def sizes(self) -> dict[str, int]:
        """The bytes of every used segment, by id."""
        segments = await self.get("coordinator", "/druid/coordinator/v1/metadata/segments")
        return {segment["identifier"]: segment["size"] for segment in segments}


@asynccontextmanager
async def whole_cluster(*historicals: tuple[str, ...], session_timeout_s: float) -> AsyncIterator[Processes]:
    """Every role once, and Historicals with these options; all of it with its files gone after the block."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coord-bench-")))
        lifeline = stack.enter_context(closing(Lifeline()))
        address = await stack.enter_async_context(running_server(None))
        zk = await stack.enter_async_context(connect(address, session_timeout=30))
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=30, trust_env=False))
        cluster = Processes(directory, address, zk, http, lifeline)
        timeout = ("--session-timeout", str(session_timeout_s))
        try:
            async with trio.open_nursery() as nursery:
                for kind in ("coordinator", "overlord", "middlemanager", "broker", "router"):
                    nursery.start_soon(cluster.start, kind, kind, *timeout)
                for number, options in enumerate(historicals, 1):
                    nursery.start_soon(cluster.start, f"historical-{number}", "historical", *timeout, *options)
            yield cluster
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_S + 1):
                await cluster.end()
