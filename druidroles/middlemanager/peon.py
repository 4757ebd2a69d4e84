"""The process of one task: `python -m druidroles.middlemanager.peon TASK_DIR --coord URL …`, run by a MiddleManager.

It has a session and an HTTP port of its own, announces itself as PEON while it works, asks the leading Overlord for
locks and for the publication, and never opens the metadata store. SIGTERM ends it at once: nothing it leaves behind
counts before it is published.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from coordserver.client import Client, CoordError
from coordserver.client.background import background
from druidroles.coordination.access import CoordAccess
from druidroles.coordination.discovery import announce_node
from druidroles.coordination.leaders import LeaderView
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.deepstorage import (
    DeepStorageError,
    DeepStorageLocation,
    open_deep_storage,
    parse_deep_storage_location,
)
from druidroles.errors import first_leaf
from druidroles.http.app import make_app, status_routes
from druidroles.http.client import make_client
from druidroles.http.guard import Guard, HttpAccess
from druidroles.http.serve import HttpServer
from druidroles.lifeline import follow_parent
from druidroles.middlemanager.action_client import ActionClient, ActionFailedError
from druidroles.middlemanager.report import Progress
from druidroles.middlemanager.task_dir import Result, TaskDirectory, TaskDirectoryHeldError
from druidroles.middlemanager.task_types import work
from druidroles.middlemanager.toolbox import TaskFailedError, Toolbox
from druidroles.model.decode import ModelError
from druidroles.model.server import DiscoveryDruidNode, DruidNode, NodeRole
from druidroles.model.task import TaskState, task_id
from druidroles.process import say_ready
from druidroles.segments.errors import IngestionError

log = logging.getLogger(__name__)

CHAT = "/druid/worker/v1/chat"
_EXPECTED = (TaskFailedError, IngestionError, DeepStorageError, ActionFailedError, ModelError, CoordError)


@attrs.frozen(kw_only=True)
class PeonSettings:
    """The command line."""

    directory: TaskDirectory
    coord: CoordUrl
    deep_storage: DeepStorageLocation
    host: str
    port: int
    session_timeout_s: float
    input_dirs: tuple[Path, ...] = ()
    begins_again_at: str | None = None


def _settings(arguments: Sequence[str]) -> PeonSettings:
    parser = argparse.ArgumentParser(prog="python -m druidroles.middlemanager.peon", description="Run one task.")
    parser.add_argument("directory", type=Path, help="the task's directory, with task.json in it")
    parser.add_argument("--coord", type=CoordUrl.parse, required=True)
    parser.add_argument("--deep-storage", type=parse_deep_storage_location, required=True)
    parser.add_argument("--input-dir", type=Path, action="append", default=[], help="where local input may come from")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--session-timeout", type=float, default=10.0)
    parser.add_argument("--begins-again-at", metavar="WORKER", help="an earlier process of the task ended unfinished")
    given = parser.parse_args(arguments)
    return PeonSettings(
        directory=TaskDirectory(given.directory),
        coord=given.coord,
        deep_storage=given.deep_storage,
        host=given.host,
        port=given.port,
        session_timeout_s=given.session_timeout,
        input_dirs=tuple(given.input_dir),
        begins_again_at=given.begins_again_at,
    )


class Peon:
    """One task at work."""

    def __init__(self, settings: PeonSettings, task: Mapping[str, Any]) -> None:
        self.progress = Progress(task_id(task))
        self._settings = settings
        self._task = task

    async def run(self) -> Result:
        """Do the task. What can be expected to go wrong becomes its result; anything else rises.

        The task waits for the coordination servers as long as they are away, as its MiddleManager does, which ends it.
        """
        settings = self._settings
        try:
            async with AsyncExitStack() as stack:
                zk = await stack.enter_async_context(
                    CoordAccess.of_environment().connect(
                        settings.coord.servers,
                        session_timeout=settings.session_timeout_s,
                        name=f"peon {task_id(self._task)}",
                        retry_forever=True,
                    )
                )
                http = await stack.enter_async_context(make_client(HttpAccess.of_environment().headers()))
                paths = DruidPaths(settings.coord.base)
                leaders = await stack.enter_async_context(LeaderView(zk, paths.overlord_latch))
                await self._serve(stack, zk, paths)
                await self._work(leaders, http)
        except* _EXPECTED as group:
            fault = first_leaf(group)
            log.error("the task fails: %s", fault)
            self.progress.error_msg = str(fault)
        if self.progress.error_msg is not None:
            return Result(TaskState.FAILED, self.progress.error_msg)
        self.progress.enter("COMPLETED")
        return Result(TaskState.SUCCESS)

    async def _work(self, leaders: LeaderView, http: httpx2.AsyncClient) -> None:
        worker = self._settings.begins_again_at
        if worker is not None:
            attempt, published = await ActionClient(self._task, leaders, http).begin_again(worker)
            if published:
                log.info("an earlier process has published already: nothing is left to do")
                return
            self._task = {**self._task, "coord": {"attempt": attempt}}
        deep_storage = await trio.to_thread.run_sync(open_deep_storage, self._settings.deep_storage)
        await work(
            Toolbox(
                task=self._task,
                directory=self._settings.directory,
                deep_storage=deep_storage,
                leaders=leaders,
                http=http,
                progress=self.progress,
                input_dirs=self._settings.input_dirs,
            )
        )

    async def _serve(self, stack: AsyncExitStack, zk: Client, paths: DruidPaths) -> None:
        """Answer over HTTP and be found there until the stack is left. Without a port the task works all the same."""
        settings = self._settings
        try:
            listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
        except OSError as fault:
            log.warning("the task does not answer over HTTP: port %d: %s", settings.port, fault)
            return
        port = listeners[0].socket.getsockname()[1]
        node = DiscoveryDruidNode(
            node=DruidNode(service="druid/middlemanager", host=settings.host, plaintext_port=port),
            role=NodeRole.PEON,
            start_time_ms=time.time_ns() // 1_000_000,
            available_processors=os.cpu_count() or 1,
        )
        nursery = await stack.enter_async_context(background())
        guard = partial(Guard, access=HttpAccess.of_environment(), own=(settings.host,))
        await nursery.start(HttpServer(make_app(self._routes(), guard), listeners).run)
        await stack.enter_async_context(announce_node(zk, paths, node))
        say_ready(f"READY peon {node.url}")

    def _routes(self) -> list[BaseRoute]:
        async def reports(request: Request) -> Response:
            return JSONResponse(self.progress.to_json())

        async def row_stats(request: Request) -> Response:
            return JSONResponse({"totals": self.progress.row_stats()})

        async def unparseable(request: Request) -> Response:
            # Rows are counted and not kept, as in Druid with maxSavedParseExceptions 0, its default.
            return JSONResponse({"determinePartitions": [], "buildSegments": []})

        return [
            *status_routes(lambda: True, {"druid.service": "druid/middlemanager"}),
            Route(f"{CHAT}/{{id}}/liveReports", reports),
            Route(f"{CHAT}/{{id}}/rowStats", row_stats),
            Route(f"{CHAT}/{{id}}/unparseableEvents", unparseable),
        ]


async def run_peon(settings: PeonSettings) -> Result:
    """Run the task of a directory and leave its report and its result there."""
    directory = settings.directory
    peon = Peon(settings, await trio.to_thread.run_sync(directory.task))
    result = await peon.run()
    await trio.to_thread.run_sync(directory.write_report, peon.progress.to_json())
    await trio.to_thread.run_sync(directory.write_result, result)
    return result


def _set_up_logging() -> None:
    """To stderr, which is the task's log, in UTC as all processes here."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def main() -> int:
    """The process."""
    follow_parent()
    _set_up_logging()
    settings = _settings(sys.argv[1:])
    try:
        with settings.directory.held():
            result = trio.run(run_peon, settings)
    except TaskDirectoryHeldError as fault:
        log.error("%s", fault)
        return 1
    except Exception as fault:  # the boundary of the process: the task's status shall say what it was
        log.exception("the task fails")
        settings.directory.write_result(Result(TaskState.FAILED, f"{type(fault).__name__}: {fault}"))
        return 1
    return 0 if result.state is TaskState.SUCCESS else 1


if __name__ == "__main__":
    sys.exit(main())
