"""The MiddleManager's HTTP API, `/druid/worker/v1` (Druid documentation, "Service status API", MiddleManager)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import httpx2
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from druidroles.http.errors import DruidHttpError
from druidroles.http.relay import RelayedResponse
from druidroles.leadership.epochs import EpochGuard
from druidroles.middlemanager.runner import TaskProcess
from druidroles.middlemanager.task_dir import TaskDirectory
from druidroles.model.decode import whole_number
from druidroles.model.task import UNKNOWN_LOCATION

BASE = "/druid/worker/v1"
_CHUNK = 256 * 1024


class Bench(Protocol):
    """The worker that the resources show and command."""

    @property
    def host_port(self) -> str:
        """Its name."""
        ...

    @property
    def http(self) -> httpx2.AsyncClient:
        """To ask the tasks' processes with."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether it takes new tasks."""
        ...

    @property
    def processes(self) -> dict[str, TaskProcess]:
        """What runs, by task id."""
        ...

    async def enable(self, enabled: bool) -> None:
        """Take new tasks, or no more."""
        ...

    def directory(self, task_id: str) -> TaskDirectory:
        """Where a task's files are, if there are any."""
        ...


class WorkerResources:
    """The routes. `guard` knows the Overlords."""

    def __init__(self, bench: Bench, guard: EpochGuard) -> None:
        self._bench = bench
        self._guard = guard

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            Route(f"{BASE}/enabled", self._enabled),
            Route(f"{BASE}/enable", self._enable, methods=["POST"]),
            Route(f"{BASE}/disable", self._disable, methods=["POST"]),
            Route(f"{BASE}/tasks", self._tasks),
            Route(f"{BASE}/task/{{id}}/shutdown", self._shut_down, methods=["POST"]),
            Route(f"{BASE}/task/{{id}}/log", self._log),
            Route(f"{BASE}/task/{{id}}/reports", self._reports),
        ]

    async def _enabled(self, request: Request) -> Response:
        return JSONResponse({self._bench.host_port: self._bench.enabled})

    async def _enable(self, request: Request) -> Response:
        await self._guard.check(request)
        await self._bench.enable(True)
        return JSONResponse({self._bench.host_port: "enabled"})

    async def _disable(self, request: Request) -> Response:
        await self._guard.check(request)
        await self._bench.enable(False)
        return JSONResponse({self._bench.host_port: "disabled"})

    async def _tasks(self, request: Request) -> Response:
        return JSONResponse(sorted(self._bench.processes))

    async def _shut_down(self, request: Request) -> Response:
        await self._guard.check(request)
        task_id = request.path_params["id"]
        process = self._bench.processes.get(task_id)
        if process is None:
            raise DruidHttpError(404, f"task {task_id} does not run here", error="Not found")
        process.stop("it was shut down")
        return JSONResponse({"task": task_id})

    async def _log(self, request: Request) -> Response:
        text = request.query_params.get("offset", "0")
        offset = whole_number(text)
        if offset is None:
            raise DruidHttpError(400, f"offset {text[:40]!r} is not a number")
        log = self._bench.directory(request.path_params["id"]).log
        return await _slice(log, offset, "text/plain; charset=utf-8")

    async def _reports(self, request: Request) -> Response:
        """The report, or that of the running process where it answers."""
        task_id = request.path_params["id"]
        report = self._bench.directory(task_id).report
        process = self._bench.processes.get(task_id)
        if process is None or process.location == UNKNOWN_LOCATION or await trio.Path(report).is_file():
            return await _slice(report, 0, "application/json")
        at = process.location
        return RelayedResponse(self._bench.http, f"http://{at.host}:{at.port}{BASE}/chat/{task_id}/liveReports")


async def _slice(path: Path, offset: int, media_type: str) -> Response:
    """What a file holds now from `offset` on (negative: counted from the end); 404 if there is none."""
    try:
        size = (await trio.Path(path).stat()).st_size
    except OSError:
        raise DruidHttpError(404, f"there is no {path.name} of task {path.parent.name}", error="Not found") from None
    start = max(0, size + offset) if offset < 0 else min(offset, size)
    return _FileSlice(path, start, size - start, media_type)


class _FileSlice(Response):
    """So many bytes of a file. It may grow meanwhile; starlette's FileResponse would send more than it declared."""

    def __init__(self, path: Path, start: int, length: int, media_type: str) -> None:
        super().__init__()
        self._path = path
        self._start = start
        self._length = length
        self._media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self._media_type.encode()), (b"content-length", str(self._length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = self._length
        async with await trio.open_file(self._path, "rb") as file:
            await file.seek(self._start)
            while left and (chunk := await file.read(min(left, _CHUNK))):
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
