"""Time-chunk locks: which task may replace which interval of a datasource, and under which version. Pure.

A lock is held by a task and belongs to its group; tasks of one group share it. Exclusive locks of other groups that
overlap conflict; shared ones go together. The stronger priority wins and revokes, an equal or weaker one waits (Druid
documentation, "Task locking"). A granted lock carries a version newer than everything in its interval, published or
still to be published, so that what is published under it overshadows what was there.

The lockbox decides; the caller stores the decision (one transaction with the revocations) and then tells the lockbox.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from druidroles.model.interval import Interval
from druidroles.model.iso import format_iso, parse_iso
from druidroles.model.task import TaskLock

EXCLUSIVE = "EXCLUSIVE"
SHARED = "SHARED"
LOCK_TYPES = (EXCLUSIVE, SHARED)


@attrs.frozen(kw_only=True)
class LockRequest:
    """What a task asks for."""

    task_id: str
    group_id: str
    data_source: str
    interval: Interval
    lock_type: str = EXCLUSIVE
    priority: int = 50


@attrs.frozen
class HeldLock:
    """A lock as it is stored: the row's id, the holder, the lock."""

    row_id: int
    task_id: str
    lock: TaskLock


@attrs.frozen
class Granted:
    """The request is granted. `held` is what the task holds already (nothing to store), possibly revoked since;
    otherwise `lock` is to be stored and the rows in `revoked` marked so."""

    lock: TaskLock
    held: HeldLock | None = None
    revoked: tuple[int, ...] = ()


@attrs.frozen
class Refused:
    """Another lock is in the way; the request may be repeated when it is gone."""

    holder: HeldLock


def next_version(now_ms: int, newest: str | None) -> str:
    """The later of now and the newest version + 1 ms. Raises ValueError if the newest is later and no instant."""
    now = format_iso(now_ms)
    if newest is None or newest < now:
        return now
    return format_iso(parse_iso(newest) + 1)


class Lockbox:
    """The locks that are held, as the store has them."""

    def __init__(self, held: Iterable[HeldLock] = ()) -> None:
        self._held: dict[int, HeldLock] = {lock.row_id: lock for lock in held}

    def decide(self, request: LockRequest, now_ms: int, newest_published: str | None) -> Granted | Refused:
        """Grant or refuse; changes nothing. `newest_published` is the newest version in the interval in the store.

        Raises ValueError where no newer version can be made.
        """
        overlapping = [held for held in self._held.values() if _overlaps(held.lock, request)]
        shared = None
        for held in overlapping:
            if _serves(held.lock, request):
                if held.task_id == request.task_id:
                    return Granted(held.lock, held)
                if not held.lock.revoked:
                    shared = held
        conflicts = [held for held in overlapping if held is not shared and _conflicts(held, request)]
        for held in conflicts:
            if held.lock.priority >= request.priority:
                return Refused(held)
        if shared is not None:
            version = shared.lock.version
        else:
            known = [held.lock.version for held in overlapping]
            newest = max([*known, newest_published] if newest_published is not None else known, default=None)
            version = next_version(now_ms, newest)
        lock = TaskLock(
            request.group_id, request.data_source, request.interval, version, request.lock_type, request.priority
        )
        return Granted(lock, None, tuple(held.row_id for held in conflicts))

    def granted(self, row_id: int, task_id: str, grant: Granted) -> None:
        """A grant was stored."""
        for revoked in grant.revoked:
            held = self._held.get(revoked)
            if held is not None:
                self._held[revoked] = attrs.evolve(held, lock=attrs.evolve(held.lock, revoked=True))
        self._held[row_id] = HeldLock(row_id, task_id, grant.lock)

    def of_task(self, task_id: str) -> list[HeldLock]:
        """The locks of a task, oldest first."""
        return [held for held in self._held.values() if held.task_id == task_id]

    def released(self, row_ids: Iterable[int]) -> None:
        """Locks were dropped from the store."""
        for row_id in row_ids:
            self._held.pop(row_id, None)

    def task_ended(self, task_id: str) -> None:
        """A task ended, and its locks with it."""
        self.released([held.row_id for held in self.of_task(task_id)])

    def held(self) -> list[HeldLock]:
        """All locks, oldest first."""
        return list(self._held.values())


def _overlaps(lock: TaskLock, request: LockRequest) -> bool:
    return lock.data_source == request.data_source and lock.interval.overlaps(request.interval)


def _serves(lock: TaskLock, request: LockRequest) -> bool:
    """Whether the lock of a group already gives what its member asks for."""
    return (
        lock.group_id == request.group_id
        and lock.lock_type == request.lock_type
        and lock.interval.contains(request.interval)
    )


def _conflicts(held: HeldLock, request: LockRequest) -> bool:
    if held.lock.revoked or held.task_id == request.task_id:
        return False
    if held.lock.group_id == request.group_id and _serves(held.lock, request):
        return False
    return not (held.lock.lock_type == SHARED and request.lock_type == SHARED)
