"""The Overlord's HTTP API, `/druid/indexer/v1` (Druid documentation, "Tasks API").

`leader` and `isLeader` answer everywhere. Everything else is the leader's: the others redirect to it (307, so that a
POST stays a POST), or answer 503 while there is none or it has not read its state yet.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from druidroles.coordination.payloads import dumps
from druidroles.http.body import read_json, read_json_object
from druidroles.http.errors import DruidHttpError
from druidroles.http.relay import RelayedResponse
from druidroles.leadership.epochs import EpochGuard
from druidroles.leadership.redirect import LeaderState, redirect_to_leader
from druidroles.metadata import MetadataError, StaleEpochError
from druidroles.model.decode import ModelError
from druidroles.overlord.actions import ActionRefusedError, action_type
from druidroles.overlord.api.listing import STATES, Listed, TaskFilter
from druidroles.overlord.api.locks import lock_handlers
from druidroles.overlord.api.supervisors import supervisor_handlers
from druidroles.overlord.api.workers import worker_handlers
from druidroles.overlord.planning.submission import TASK_BYTES_MAX, complete_task, new_row
from druidroles.overlord.term import OverlordTerm
from druidroles.segments.errors import IngestionError

log = logging.getLogger(__name__)

BASE = "/druid/indexer/v1"
ACTION_BYTES_MAX = 64 << 20  # a publication of 50,000 segments is half of it
COMPLETE_MAX = 1000  # ended tasks that a listing reads unless it asks for another number
SEARCHED_MAX = 10_000  # ended tasks that a listing looks through for those of a datasource or type
_LETTERS = "abcdefghijklmnop"  # those of Druid's random ids


class OverlordState(LeaderState, Protocol):
    """An Overlord, as far as its HTTP resources need it."""

    @property
    def leading(self) -> OverlordTerm | None:
        """The term in which this process leads and has read its state, or None."""

    @property
    def http(self) -> httpx2.AsyncClient:
        """The client for requests to workers."""


Handler = Callable[[Request, OverlordTerm], Awaitable[Response]]


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class OverlordResources:
    """The routes; `state` is read at each request. `guard` knows the Coordinators, which submit kill tasks."""

    def __init__(self, state: OverlordState, guard: EpochGuard) -> None:
        self._state = state
        self._guard = guard

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        led: list[tuple[str, Handler, str]] = [
            ("/task", self._submit, "POST"),
            ("/action", self._act, "POST"),
            ("/taskStatus", self._task_statuses, "POST"),
            ("/task/{id}", self._task, "GET"),
            ("/task/{id}/status", self._task_status, "GET"),
            ("/task/{id}/reports", self._reports, "GET"),
            ("/task/{id}/log", self._log, "GET"),
            ("/task/{id}/shutdown", self._shut_down, "POST"),
            ("/datasources/{name}/shutdownAllTasks", self._shut_down_all, "POST"),
            ("/tasks", self._tasks, "GET"),
            ("/waitingTasks", self._in_state("waiting"), "GET"),
            ("/pendingTasks", self._in_state("pending"), "GET"),
            ("/runningTasks", self._in_state("running"), "GET"),
            ("/completeTasks", self._in_state("complete"), "GET"),
            ("/task/{id}/segments", self._segments, "GET"),
            ("/pendingSegments/{name}", self._pending_segments, "DELETE"),
            *worker_handlers(),
            *lock_handlers(),
            *supervisor_handlers(),
        ]
        return [
            Route(f"{BASE}/leader", self._leader),
            Route(f"{BASE}/isLeader", self._is_leader),
            *(Route(BASE + path, self._led(handler), methods=[method]) for path, handler, method in led),
        ]

    async def _leader(self, request: Request) -> Response:
        return Response(self._state.leader_url or "", media_type="application/json")  # text all the same, as in Druid

    async def _is_leader(self, request: Request) -> Response:
        leads = self._state.leading is not None
        return JSONResponse({"leader": leads}, status_code=200 if leads else 404)

    def _led(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            leading = self._state.leading
            if leading is None:
                return redirect_to_leader("Overlord", self._state, request)
            try:
                return await handler(request, leading)
            except (ModelError, IngestionError) as fault:
                raise DruidHttpError(400, str(fault)) from None
            except ActionRefusedError as fault:
                raise DruidHttpError(400, str(fault), error="Task action refused") from None
            except StaleEpochError as fault:
                log.error("%s is refused: %s", request.url.path, fault)
                leading.depose()
                raise DruidHttpError(503, str(fault), error="Not the leader") from None
            except MetadataError as fault:
                raise DruidHttpError(503, str(fault), error="Metadata store unavailable") from None

        return endpoint

    # Tasks

    async def _submit(self, request: Request, leading: OverlordTerm) -> Response:
        await self._guard.check(request)
        posted = await read_json_object(request)
        now_ms = wall_ms()
        task = complete_task(posted, "".join(random.choices(_LETTERS, k=8)), now_ms)
        size = len(dumps(task))
        if size > TASK_BYTES_MAX:
            raise DruidHttpError(
                413, f"the task has {size} bytes, over the limit of {TASK_BYTES_MAX} of an assignment in the tree"
            )
        if not await leading.submit(new_row(task, now_ms)):
            raise DruidHttpError(400, f"task {task['id']} already exists", error="Task already exists")
        return JSONResponse({"task": task["id"]})

    async def _act(self, request: Request, leading: OverlordTerm) -> Response:
        holder = await read_json_object(request, ACTION_BYTES_MAX)
        with leading.counts.actions.time(taskActionType=action_type(holder)):
            return JSONResponse({"result": await leading.actions.perform(holder)})

    async def _find(self, request: Request, leading: OverlordTerm) -> Listed | None:
        row = leading.tasks.get(request.path_params["id"]) or await leading.store.task(request.path_params["id"])
        return None if row is None else leading.listed(row)

    async def _task(self, request: Request, leading: OverlordTerm) -> Response:
        found = await self._find(request, leading)
        if found is None:
            return _unknown(request)
        return JSONResponse({"task": found.row.id, "payload": dict(found.row.payload)})

    async def _task_status(self, request: Request, leading: OverlordTerm) -> Response:
        found = await self._find(request, leading)
        if found is None:
            return _unknown(request)
        return JSONResponse({"task": found.row.id, "status": found.to_json("WAITING")})

    async def _task_statuses(self, request: Request, leading: OverlordTerm) -> Response:
        ids = await read_json(request)
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise ModelError("the request body is not a list of task ids")
        if not ids:
            raise ModelError("no task ids are given")
        statuses = {}
        for one in ids:
            row = leading.tasks.get(one) or await leading.store.task(one)
            if row is not None:
                statuses[one] = leading.listed(row).status.to_json()
        return JSONResponse(statuses)

    async def _reports(self, request: Request, leading: OverlordTerm) -> Response:
        return await self._from_worker(request, leading, "reports")

    async def _log(self, request: Request, leading: OverlordTerm) -> Response:
        return await self._from_worker(request, leading, "log")

    async def _from_worker(self, request: Request, leading: OverlordTerm, what: str) -> Response:
        """What the worker of the newest attempt keeps of a task, running or ended."""
        found = await self._find(request, leading)
        if found is None:
            return _unknown(request)
        if found.row.worker is None:
            raise DruidHttpError(404, f"task {found.row.id} has not run anywhere yet", error="Not found")
        url = leading.commands.url(found.row.worker, f"/task/{quote(found.row.id, safe='')}/{what}")
        query = f"?{request.url.query}" if request.url.query else ""
        return RelayedResponse(self._state.http, url + query)

    async def _shut_down(self, request: Request, leading: OverlordTerm) -> Response:
        """End a task. One whose row cannot be read is not listed, and ends here too, with its locks."""
        task_id = request.path_params["id"]
        found = await self._find(request, leading)
        if not await leading.shut_down(task_id, "Shutdown request from user") and found is None:
            return _unknown(request)
        return JSONResponse({"task": task_id})

    async def _shut_down_all(self, request: Request, leading: OverlordTerm) -> Response:
        name = request.path_params["name"]
        tasks = [row.id for row in leading.tasks.values() if row.data_source == name]
        for task_id in tasks:
            await leading.shut_down(task_id, "Shutdown request from user")
        return JSONResponse({"dataSource": name}, status_code=200 if tasks else 404)

    async def _segments(self, request: Request, leading: OverlordTerm) -> Response:
        raise DruidHttpError(404, "which segments a task published is not kept, as in Druid", error="Not found")

    async def _pending_segments(self, request: Request, leading: OverlordTerm) -> Response:
        # Nothing here appends to existing segments, so none is ever pending.
        return JSONResponse({"numDeleted": 0})

    # Listings

    async def _tasks(self, request: Request, leading: OverlordTerm) -> Response:
        state = request.query_params.get("state")
        if state is not None and state.lower() not in STATES:
            return PlainTextResponse(f"Invalid state : {state}, valid values are: [{', '.join(STATES)}]", 400)
        return await _list(TaskFilter.parse(request.query_params.get), leading)

    def _in_state(self, state: str) -> Handler:
        async def handler(request: Request, leading: OverlordTerm) -> Response:
            given = dict(request.query_params) | {"state": state}
            return await _list(TaskFilter.parse(given.get), leading)

        return handler


async def _list(wanted: TaskFilter, leading: OverlordTerm) -> Response:
    found = [task for row in leading.tasks.values() if wanted.takes(task := leading.listed(row))]
    if wanted.state in (None, "complete"):
        most = COMPLETE_MAX if wanted.most is None else wanted.most
        ended = await leading.store.ended_tasks(most if wanted.takes_all_ended else max(most, SEARCHED_MAX))
        complete = [task for row in ended if row.id not in leading.tasks and wanted.takes(task := Listed(row))]
        found += complete[:most]
    return JSONResponse([task.to_json() for task in found])


def _unknown(request: Request) -> Response:
    return PlainTextResponse(f"Cannot find any task with id: [{request.path_params['id']}]", 404)
