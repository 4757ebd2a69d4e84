"""Task actions: what a running task asks of the leading Overlord over HTTP (Druid's TaskAction classes).

A request holds the task's JSON and the action; the task's JSON as the worker got it carries `coord.attempt`, the
number of the assignment it belongs to. A task that another attempt has superseded is refused here, and, because an
answer may be overtaken, once more inside the transaction that publishes. A worker of Druid's own does not carry the
number: there the newest counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from druidroles.metadata import LeaderEpoch, MetadataStore, Publication, PublishRefusedError, TaskRow
from druidroles.model.decode import ModelError, get_int, get_list, get_object, need_object, need_str, opt_str
from druidroles.model.interval import Interval
from druidroles.model.kill import read_unused_since, read_versions
from druidroles.model.names import check_name
from druidroles.model.segment import DataSegment
from druidroles.model.task import TaskLock, TaskState, TaskStatus, task_id
from druidroles.overlord.planning.lockbox import EXCLUSIVE, LOCK_TYPES, Granted, Lockbox, LockRequest
from druidroles.overlord.planning.submission import lock_priority

log = logging.getLogger(__name__)

# A waiting lockAcquire is answered null after this at the latest; the task asks again, perhaps another Overlord.
WAIT_MS_MAX = 30_000
BEGIN_AGAIN = "coordBeginAgain"  # ours
# Of segmentTransactionalInsert: what these ask for would not be done. Other keys of a release of Druid are passed over.
_NOT_DONE = ("segmentsToBeOverwritten", "segmentsToBeDropped", "startMetadata", "endMetadata")
ACTION_TYPES = frozenset(
    (
        "lockAcquire",
        "lockTryAcquire",
        "lockList",
        "lockRelease",
        "segmentTransactionalInsert",
        "retrieveUsedSegments",
        "segmentListUsed",
        "retrieveUnusedSegments",
        "segmentListUnused",
        "segmentNuke",
        BEGIN_AGAIN,
    )
)


class ActionRefusedError(Exception):
    """The task may not act: it is unknown, has ended, or another attempt of it runs."""


class TaskActions:
    """The actions of one leader's term. `published` is called after segments were committed."""

    def __init__(
        self,
        store: MetadataStore,
        leader: LeaderEpoch,
        lockbox: Lockbox,
        published: Callable[[], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._leader = leader
        self._lockbox = lockbox
        self._published = published
        self._wall_ms = wall_ms
        self.waiting: set[str] = set()  # the tasks that wait for a lock
        self._deciding = trio.Lock()
        self._released = trio.Event()

    async def perform(self, holder: Mapping[str, Any]) -> Any:
        """Carry out `{"task": …, "action": {"type": …}}`; returns its result as JSON.

        Raises ModelError for a malformed request, ActionRefusedError, and what the store raises.
        """
        action = need_object(holder, "action")
        kind = need_str(action, "type")
        if kind == BEGIN_AGAIN:
            return await self._begin_again(holder, action)
        perform = {
            "lockAcquire": self._lock_acquire,
            "lockTryAcquire": self._lock_try_acquire,
            "lockList": self._lock_list,
            "lockRelease": self._lock_release,
            "segmentTransactionalInsert": self._insert,
            "retrieveUsedSegments": self._used_segments,
            "segmentListUsed": self._used_segments,
            "retrieveUnusedSegments": self._unused_segments,
            "segmentListUnused": self._unused_segments,
            "segmentNuke": self._nuke,
        }.get(kind)
        if perform is None:
            raise ModelError(f"action.type {kind!r} is not supported")
        task = need_object(holder, "task")
        row = await self._store.task(task_id(task))
        return await perform(_checked(row, task), action)

    async def _begin_again(self, holder: Mapping[str, Any], action: Mapping[str, Any]) -> Any:
        """Count a new attempt at a task whose process begins anew at the worker that has it.

        What the earlier process may still have under way is refused from here on, as that of any earlier attempt; if it
        was committed before, the answer says so, and nothing is to be done again.
        """
        task, worker = need_object(holder, "task"), need_str(action, "worker")
        row = await self._store.task(task_id(task))
        if row is None or not row.active:
            raise ActionRefusedError(f"task {task_id(task)} is unknown or has ended")
        # A lower number than the newest is one whose answer was lost; an assignment elsewhere has another worker.
        if row.worker != worker or _attempt_of(task, row) > row.attempt:
            raise ActionRefusedError(f"task {row.id} is at worker {row.worker}, attempt {row.attempt}")
        attempt = await self._store.begin_attempt(self._leader, row.id, worker)
        row = await self._store.task(row.id)
        if row is None or attempt is None:
            raise ActionRefusedError(f"task {task_id(task)} has ended")
        log.info("task %s begins anew at worker %s, attempt %d", row.id, worker, attempt)
        return {"attempt": attempt, "published": row.published}

    async def _lock_acquire(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        timeout_ms = get_int(action, "timeoutMs", 0)
        with trio.move_on_after((min(timeout_ms, WAIT_MS_MAX) or WAIT_MS_MAX) / 1000):
            while True:
                released = self._released
                lock = await self._lock_try_acquire(row, action)
                if lock is not None:
                    self.waiting.discard(row.id)
                    return lock
                # It stays among the waiting between two requests: the next follows at once.
                self.waiting.add(row.id)
                await released.wait()
        return None

    async def _lock_try_acquire(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        request = LockRequest(
            task_id=row.id,
            group_id=row.group_id,
            data_source=row.data_source,
            interval=Interval.parse(need_str(action, "interval")),
            lock_type=_lock_type(action),
            priority=lock_priority(row.payload),
        )
        async with self._deciding:
            newest = await self._store.newest_version(request.data_source, request.interval)
            answer = self._lockbox.decide(request, self._wall_ms(), newest)
            if not isinstance(answer, Granted):
                log.info("task %s waits for the lock of task %s", row.id, answer.holder.task_id)
                return None
            if answer.held is None:
                row_id = await self._store.add_lock(self._leader, row.id, answer.lock.to_json(), answer.revoked)
                if row_id is None:
                    raise ActionRefusedError(f"task {row.id} has ended")
                self._lockbox.granted(row_id, row.id, answer)
                log.info(
                    "task %s holds %s of %s, version %s",
                    row.id,
                    answer.lock.interval,
                    row.data_source,
                    answer.lock.version,
                )
            return answer.lock.to_json()

    async def _lock_list(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        return [held.lock.to_json() for held in self._lockbox.of_task(row.id)]

    async def _lock_release(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        interval = Interval.parse(need_str(action, "interval"))
        async with self._deciding:
            rows = [held.row_id for held in self._lockbox.of_task(row.id) if held.lock.interval == interval]
            await self._store.remove_locks(self._leader, rows)
            self._lockbox.released(rows)
        self._locks_changed()
        return None

    async def _insert(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        segments = []
        for value in get_list(action, "segments"):
            segment = DataSegment.from_json(_object(value))
            # There may be tens of thousands, and the session wants the loop too.
            await trio.lowlevel.checkpoint()
            segments.append(segment)
            check_name(segment.version, "segments: version")
            check_name(segment.id, "segments: the id")
            if segment.data_source != row.data_source:
                raise ModelError(f"segments: {segment.id} is not of the task's datasource {row.data_source!r}")
        for key in _NOT_DONE:
            if action.get(key) not in (None, [], {}):
                raise ModelError(f"{key} is not supported: nothing here appends, or is ingested from a stream")
        publication = Publication(task_id=row.id, attempt=row.attempt, segments=segments)
        try:
            inserted = await self._store.publish_segments(self._leader, publication)
        except PublishRefusedError as refused:
            why = self._revoked(row.id, segments) or str(refused)
            log.warning("%s", why)
            return {"segments": [], "success": False, "errorMsg": why}
        self._published()
        log.info("task %s published %d segments of %s", row.id, len(inserted), row.data_source)
        return {"segments": [segment.to_json() for segment in segments], "success": True, "errorMsg": None}

    def _revoked(self, task_id: str, segments: Sequence[DataSegment]) -> str | None:
        """Which revoked lock would have covered the segments, as the reason why they are refused."""
        for held in self._lockbox.of_task(task_id):
            if held.lock.revoked and any(held.lock.interval.contains(segment.interval) for segment in segments):
                return f"the lock of {held.lock.interval} was revoked by a task of higher priority"
        return None

    async def _used_segments(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        data_source = opt_str(action, "dataSource") or row.data_source
        one = opt_str(action, "interval")
        texts = [one] if one is not None else get_list(action, "intervals")
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ModelError("intervals is not a list of intervals")
        intervals = [Interval.parse(text) for text in texts]
        return [segment.to_json() for segment in await self._store.used_segments_in(data_source, intervals)]

    async def _unused_segments(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        data_source = opt_str(action, "dataSource") or row.data_source
        interval = Interval.parse(need_str(action, "interval"))
        limit = get_int(action, "limit", 0)
        found = await self._store.unused_segments_in(
            data_source, interval, versions=read_versions(action), unused_since_ms=read_unused_since(action)
        )
        return [segment.to_json() for segment in (found[:limit] if limit > 0 else found)]

    async def _nuke(self, row: TaskRow, action: Mapping[str, Any]) -> Any:
        """Delete the rows of unused segments; answers the ids that have no row now, whose files may go.

        Those that were marked used again meanwhile stay, and are not among them.
        """
        locks = [held.lock for held in self._lockbox.of_task(row.id) if not held.lock.revoked]
        ids = []
        for value in get_list(action, "segments"):
            segment = DataSegment.from_json(_object(value))
            await trio.lowlevel.checkpoint()
            if segment.data_source != row.data_source:
                raise ModelError(f"segments: {segment.id} is not of the task's datasource {row.data_source!r}")
            if not any(lock.interval.contains(segment.interval) for lock in locks):
                raise ActionRefusedError(f"task {row.id} holds no lock that covers segment {segment.id}")
            ids.append(segment.id)
        deleted = await self._store.delete_segments(self._leader, ids)
        log.info("task %s deleted %d segments of %s", row.id, deleted, row.data_source)
        if deleted == len(ids):
            return ids
        return [one for one in ids if await self._store.segment(one) is None]

    async def end_task(self, status: TaskStatus) -> TaskStatus | None:  # noqa: ASYNC128 - Druid's TaskStatus, not trio's
        """Record how a task ended and release its locks; what was recorded, None if it had ended before.

        A task whose segments were published has done its work, whatever became of its process after: what is there
        and is served shall not be called a failure, and be done again.

        Under the same lock as the granting: a lock that is stored just before the end must not be noted after it.
        """
        async with self._deciding:
            if status.state is TaskState.FAILED:
                row = await self._store.task(status.id)
                if row is not None and row.active and row.published:
                    log.warning("task %s failed after it had published: it counts as done", status.id)
                    status = TaskStatus.success(status.id, status.duration_ms, status.location)
            ended = await self._store.end_task(self._leader, status.id, status.to_json())
            self._lockbox.task_ended(status.id)
            self.waiting.discard(status.id)
        self._locks_changed()
        return status if ended else None

    def locks(self) -> list[TaskLock]:
        """All locks, oldest first."""
        return [held.lock for held in self._lockbox.held()]

    def _locks_changed(self) -> None:
        """Locks were released: those that wait look again."""
        self._released.set()
        self._released = trio.Event()


def action_type(holder: Mapping[str, Any]) -> str:
    """The type of the action in a request, for the metrics; only known ones, as it comes from outside."""
    action = holder.get("action")
    kind = action.get("type") if isinstance(action, Mapping) else None
    return kind if isinstance(kind, str) and kind in ACTION_TYPES else "other"


def _checked(row: TaskRow | None, task: Mapping[str, Any]) -> TaskRow:
    if row is None:
        raise ActionRefusedError(f"task {task_id(task)} is unknown")
    if not row.active:
        raise ActionRefusedError(f"task {row.id} has ended")
    attempt = _attempt_of(task, row)
    if attempt != row.attempt:
        raise ActionRefusedError(f"attempt {attempt} of task {row.id} is superseded by attempt {row.attempt}")
    return row


def _attempt_of(task: Mapping[str, Any], row: TaskRow) -> int:
    return get_int(get_object(task, "coord") or {}, "attempt", row.attempt)


def _lock_type(action: Mapping[str, Any]) -> str:
    kind = opt_str(action, "lockType") or EXCLUSIVE
    if kind not in LOCK_TYPES:
        raise ModelError(f"lockType {kind!r} is not supported (supported: {', '.join(LOCK_TYPES)})")
    return kind


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelError("segments is not a list of segments")
    return value
