"""Requests for the leader that reach another process: a redirect to the leader, or 503 while nobody leads.

Druid answers the same way (RedirectFilter, OverlordRedirectInfo): 307, so that a POST stays a POST.
"""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from druidroles.http.errors import DruidHttpError


class LeaderState(Protocol):
    """What a process of a leading role knows about the leader."""

    @property
    def leader_url(self) -> str | None:
        """The URL of the leader, or None if the tree has none."""

    @property
    def url(self) -> str:
        """The URL of this process."""


def redirect_to_leader(role: str, state: LeaderState, request: Request) -> Response:
    """Redirect a request to the leader of `role`, with the same path and query.

    Raises DruidHttpError 503 if nobody leads, or if the tree still names this process, which does not lead.
    """
    url = state.leader_url
    if url is None or url == state.url:
        raise DruidHttpError(503, f"no {role} leads at the moment", error="No leader")
    path = request.scope["raw_path"].decode("ascii")
    query = request.url.query
    return RedirectResponse(f"{url}{path}?{query}" if query else f"{url}{path}", status_code=307)
