"""The Overlord's HTTP API about locks: which intervals are taken, and by what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from druidroles.http.body import read_json, read_json_object
from druidroles.model.decode import ModelError, as_object, get_int, get_list, get_object, need_int, need_str, only_keys
from druidroles.model.interval import Interval
from druidroles.model.task import TaskLock
from druidroles.overlord.term import OverlordTerm

_FILTER_KEYS = frozenset(("datasource", "priority", "intervals", "context"))
Handler = Callable[[Request, OverlordTerm], Awaitable[Response]]


def lock_handlers() -> list[tuple[str, Handler, str]]:
    """Path below `/druid/indexer/v1`, handler and method of each."""
    return [
        ("/lockedIntervals", _locked_intervals, "POST"),
        ("/lockedIntervals/v2", _locked_intervals_v2, "POST"),
        ("/activeLocks", _active_locks, "POST"),
    ]


@attrs.frozen
class LockFilter:
    """Which locks of a datasource are asked for (Druid's LockFilterPolicy); without intervals those of all times."""

    data_source: str
    priority: int
    intervals: tuple[Interval, ...] = ()

    @classmethod
    def parse(cls, value: Any) -> LockFilter:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "a lock filter")
        only_keys(obj, _FILTER_KEYS, "a lock filter")
        context = get_object(obj, "context") or {}
        return cls(
            need_str(obj, "datasource"),
            get_int(obj, "priority", get_int(context, "priority", 0)),
            tuple(Interval.parse(text) for text in _texts(get_list(obj, "intervals"))),
        )

    def takes(self, lock: TaskLock) -> bool:
        """Whether it is asked for."""
        return (
            not lock.revoked
            and lock.data_source == self.data_source
            and lock.priority >= self.priority
            and (not self.intervals or any(lock.interval.overlaps(interval) for interval in self.intervals))
        )


async def _locked_intervals(request: Request, leading: OverlordTerm) -> Response:
    least = await read_json_object(request)
    return JSONResponse(_intervals(leading, [LockFilter(name, need_int(least, name)) for name in least]))


async def _locked_intervals_v2(request: Request, leading: OverlordTerm) -> Response:
    return JSONResponse(_intervals(leading, await _filters(request)))


async def _active_locks(request: Request, leading: OverlordTerm) -> Response:
    """Whole locks, by datasource."""
    found = {
        name: [lock.to_json() for lock in locks] for name, locks in _taken(leading, await _filters(request)).items()
    }
    return JSONResponse({"datasourceToLocks": found})


def _texts(values: list[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ModelError("intervals is not a list of intervals")
    return values


async def _filters(request: Request) -> list[LockFilter]:
    value = await read_json(request)
    if not isinstance(value, list):
        raise ModelError("the request body is not a list of lock filters")
    return [LockFilter.parse(item) for item in value]


def _taken(leading: OverlordTerm, filters: list[LockFilter]) -> Mapping[str, list[TaskLock]]:
    found: dict[str, list[TaskLock]] = {}
    for lock in leading.actions.locks():
        if any(one.takes(lock) for one in filters):
            found.setdefault(lock.data_source, []).append(lock)
    return found


def _intervals(leading: OverlordTerm, filters: list[LockFilter]) -> dict[str, list[str]]:
    return {
        name: [str(interval) for interval in sorted({lock.interval for lock in locks})]
        for name, locks in _taken(leading, filters).items()
    }
