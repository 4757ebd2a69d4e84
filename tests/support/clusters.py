"""Whole clusters of real processes, on ports that the system chose, and an eye on the tree while they work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio

from coordserver.client import Client
from druidroles.lifeline import Lifeline

SESSION_TIMEOUT_S = 4
READY_S = 60


class Proc:
    """One process under test."""

    def __init__(self, name: str, arguments: list[str], process: trio.Process, log: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.process = process
        self.log = log
        self.address = ""
        self.ready = trio.Event()

    @property
    def url(self) -> str:
        """Its HTTP address."""
        return f"http://{self.address}"

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


@attrs.frozen(kw_only=True)
class Parts:
    """What stands behind the seams: servers of another kind than ours, other stores; and how one is let in."""

    coord: str = ""  # scheme and hosts; ours, started with `server_options`, where empty
    server_options: tuple[str, ...] = ()
    role_options: tuple[str, ...] = ()
    metadata: str = ""
    deep_storage: str = ""
    environment: Mapping[str, str] = attrs.field(factory=dict)


class Cluster:
    """Processes of one test. Every wait is bounded by the test's own time limit."""

    def __init__(
        self, directory: Path, nursery: trio.Nursery, http: httpx2.AsyncClient, parts: Parts | None = None
    ) -> None:
        self.directory = directory
        self.parts = parts or Parts()
        self.arguments_of: Callable[[str, str], list[str]] | None = None
        self.http = http
        self.procs: dict[str, Proc] = {}
        self._nursery = nursery
        self._lifeline = Lifeline()

    async def spawn(self, name: str, *arguments: str) -> Proc:
        """Start one process and return without waiting for it."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as sink:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=sink,
                pass_fds=[self._lifeline.read_fd],
                env={**os.environ, **self.parts.environment, **self._lifeline.environment},
            )
        proc = Proc(name, list(arguments), process, log)
        self.procs[name] = proc
        self._nursery.start_soon(self._follow, proc)
        return proc

    async def _follow(self, proc: Proc) -> None:
        assert proc.process.stdout is not None
        text = ""
        async for chunk in proc.process.stdout:
            text += chunk.decode()
            for line in text.splitlines():
                if line.startswith("READY "):
                    proc.address = line.split()[-1].removeprefix("http://")
                    proc.ready.set()
        await proc.process.wait()

    async def start(self, name: str, *arguments: str) -> Proc:
        """Start one process and wait until it says READY."""
        proc = await self.spawn(name, *arguments)
        await self.wait_ready(proc)
        return proc

    async def wait_ready(self, proc: Proc) -> None:
        """Wait for READY; fails with the log if it does not come."""
        with trio.move_on_after(READY_S):
            async with trio.open_nursery() as nursery:

                async def died() -> None:
                    await proc.process.wait()
                    nursery.cancel_scope.cancel(reason="the process ended")

                nursery.start_soon(died)
                await proc.ready.wait()
                nursery.cancel_scope.cancel(reason="ready")
        assert proc.ready.is_set(), f"{proc.name} is not ready:\n{proc.log.read_text()[-3000:]}"

    async def server(self, listen: str = "127.0.0.1:0") -> Proc:
        """The coordination server."""
        where = ("--listen", listen, "--data-dir", str(self.directory / "server"))
        return await self.start("server", "server", *where, *self.parts.server_options)

    @property
    def coord(self) -> str:
        """Scheme and hosts of the coordination servers."""
        return self.parts.coord or f"coord://{self.procs['server'].address}"

    async def role(self, name: str, kind: str, *more: str, wait: bool = True) -> Proc:
        """One role on a free port."""
        arguments = self.role_arguments(name, kind, *more)
        return await (self.start if wait else self.spawn)(name, *arguments)

    def role_arguments(self, name: str, kind: str, *more: str) -> list[str]:
        """What `coord` is told for a role."""
        if self.arguments_of is not None:
            return [*self.arguments_of(name, kind), *more]
        metadata = ["--metadata", self.parts.metadata or str(self.directory / "metadata.sqlite")]
        deep_storage = ["--deep-storage", self.parts.deep_storage or str(self.directory / "deep-storage")]
        extra = {
            "coordinator": metadata,
            "overlord": metadata,
            "historical": deep_storage,
            "middlemanager": [*deep_storage, "--task-port", "0", "--input-dir", str(self.directory)],
        }.get(kind, [])
        common = ["--coord", f"{self.coord}/druid", *self.parts.role_options, "--host", "127.0.0.1", "--port", "0"]
        timeout = ["--session-timeout", str(SESSION_TIMEOUT_S), "--data-dir", str(self.directory / name)]
        return ["--log-level", "debug", "druid", kind, *common, *timeout, *extra, *more]

    async def whole(self, *, coordinators: int = 2, historicals: int = 2) -> None:
        """Everything the main job needs; roles start side by side."""
        if not self.parts.coord:
            await self.server()
        for name, kind in (
            *((f"coordinator-{n}", "coordinator") for n in range(1, coordinators + 1)),
            ("overlord", "overlord"),
            *((f"historical-{n}", "historical") for n in range(1, historicals + 1)),
            ("middlemanager", "middlemanager"),
            ("broker", "broker"),
            ("router", "router"),
        ):
            await self.role(name, kind, wait=False)
        for proc in list(self.procs.values()):
            await self.wait_ready(proc)

    async def get(self, name: str, path: str) -> httpx2.Response:
        """GET from one process."""
        return await self.http.get(self.procs[name].url + path)

    async def query(self, body: dict[str, Any], name: str = "router") -> Any:
        """A native query; its answer must be 200."""
        response = await self.http.post(self.procs[name].url + "/druid/v2", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def until(self, what: str, condition: Callable[[], Any], limit_s: float = 60) -> Any:
        """Poll an async condition until it is true; its value. Transport errors count as not yet."""
        value = None
        with trio.move_on_after(limit_s):
            while True:
                try:
                    value = await condition()
                except httpx2.HTTPError as fault:
                    value = None
                    last: Any = fault
                else:
                    last = value
                if value:
                    return value
                await trio.sleep(0.1)
        pytest.fail(f"{what}: not within {limit_s} s (last: {last!r:.300})")

    async def stop(self) -> None:
        """End what is left."""
        for proc in self.procs.values():
            if proc.process.returncode is None:
                proc.process.kill()
        for proc in self.procs.values():
            await proc.process.wait()
        self._lifeline.close()


@asynccontextmanager
async def open_cluster(directory: Path, parts: Parts | None = None) -> AsyncIterator[Cluster]:
    """A cluster that leaves no process behind."""
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as http, trio.open_nursery() as nursery:
        cluster = Cluster(directory, nursery, http, parts)
        try:
            yield cluster
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
                await cluster.stop()


class Witness:
    """Everything that happened below a znode, in order: (what, path, data)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    async def watch(self, zk: Client, root: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Follow a subtree for ever. Each event of a znode that is gone before it could be read has no data."""
        async with zk.watch(root, recursive=True) as events:
            task_status.started()
            async for event in events:
                data = b""
                try:
                    data = (await zk.get(event.path)).data
                except Exception as fault:  # noqa: BLE001 - gone already; the event itself is what is witnessed
                    data = str(fault).encode() if "NoNode" not in type(fault).__name__ else b""
                self.seen.append((event.kind.name, event.path, data))

    def paths(self, kind: str, prefix: str) -> list[str]:
        """The paths of events of one kind below a prefix."""
        return [path for what, path, _ in self.seen if what == kind and path.startswith(prefix)]
