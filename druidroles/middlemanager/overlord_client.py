"""How a task asks the leading Overlord for something: sent again until one that leads has answered.

While nobody leads, or the leader does not answer, a task waits: it ends when its MiddleManager ends it, and not because
an Overlord is being replaced. One that is replaced while it owes an answer is not waited for: it may be stopped, and
not even refuse. So whatever is asked must be harmless when it is sent twice.
"""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import trio

from coordserver.client import Leader
from druidroles.coordination.leaders import LeaderView

log = logging.getLogger(__name__)

BASE = "/druid/indexer/v1"
RETRY_S = 1.0
_ANSWER_S = 120.0
# Not the leader (any more), or it cannot just now; another error is about what was asked, and stays.
_AGAIN = frozenset({307, 408, 429, 502, 503, 504})


class RefusedError(Exception):
    """The Overlord refuses; the text is its own, `status` that of the answer, `error` Druid's short code."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class OverlordClient:
    """Asks whoever leads."""

    def __init__(self, leaders: LeaderView, http: httpx2.AsyncClient) -> None:
        self._leaders = leaders
        self._http = http

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the leader answers on a path below `/druid/indexer/v1`; raises RefusedError."""
        while True:
            leader = await self._leaders.wait_leader()
            revision = self._leaders.revision.value
            try:
                response = await self._ask_one(leader, method, path, body)
            except httpx2.HTTPError as fault:
                log.warning("Overlord %s does not answer: %r", leader.participant, fault)
            else:
                if response is None:
                    log.warning("Overlord %s does not lead any more", leader.participant)
                    continue
                if response.status_code == 200:
                    return response.json()
                refused = _refusal(response)
                if response.status_code not in _AGAIN:
                    raise refused
                log.warning("Overlord %s: HTTP %d: %s", leader.participant, response.status_code, refused)
            with trio.move_on_after(RETRY_S):
                await self._leaders.changed(revision)

    async def _ask_one(self, leader: Leader, method: str, path: str, body: Any) -> httpx2.Response | None:
        """Its answer; None if it ceases to lead before. Raises HTTPError."""
        response: httpx2.Response | None = None
        fault: httpx2.HTTPError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_up, leader, nursery.cancel_scope)
            try:
                response = await self._http.request(
                    method, f"{leader.participant}{BASE}{path}", json=body, timeout=_ANSWER_S
                )
            except httpx2.HTTPError as error:
                fault = error
            nursery.cancel_scope.cancel(reason="it has answered")
        if fault is not None:
            raise fault
        return response

    async def _give_up(self, leader: Leader, asking: trio.CancelScope) -> None:
        while self._leaders.leader == leader:
            await self._leaders.changed()
        asking.cancel(reason="another leads, or nobody")


def _refusal(response: httpx2.Response) -> RefusedError:
    try:
        body = response.json()
    except ValueError:
        body = None
    told = body if isinstance(body, dict) else {}
    message = told.get("errorMessage") or response.text[:200] or f"HTTP {response.status_code}"
    return RefusedError(response.status_code, str(told.get("error") or ""), str(message))
