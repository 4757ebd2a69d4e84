"""Only the leader answers; everybody else says where it is (Druid: 307 with its own URI, 503 while nobody leads)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from coordserver.client import TransactionFailedError
from druidroles.coordinator.leading import Leading
from druidroles.http.errors import DruidHttpError
from druidroles.metadata import MetadataError, StaleEpochError
from druidroles.model.decode import ModelError

NO_LEADER = "no Coordinator leads at the moment"


class Contender(Protocol):
    """A Coordinator, as far as its HTTP resources need it."""

    @property
    def leading(self) -> Leading | None:
        """The term in which it leads, None while it does not."""

    @property
    def leader_url(self) -> str | None:
        """Who leads, as far as it knows."""

    @property
    def url(self) -> str:
        """Its own URL."""


OnLeader = Callable[[Request, Leading], Awaitable[Response]]


def on_leader(contender: Contender, handle: OnLeader) -> Callable[[Request], Awaitable[Response]]:
    """A resource that only the leader serves, once its picture is complete."""

    async def serve(request: Request) -> Response:
        leading = contender.leading
        if leading is None:
            return _to_leader(contender, request)
        if not leading.ready:
            raise DruidHttpError(503, "this Coordinator leads, but has not read everything yet", error="Not ready")
        try:
            return await handle(request, leading)
        except (StaleEpochError, TransactionFailedError) as fault:
            raise DruidHttpError(503, f"this Coordinator leads no longer: {fault}", error="Not the leader") from fault
        except ModelError as fault:
            raise DruidHttpError(400, str(fault)) from None
        except MetadataError as fault:
            raise DruidHttpError(503, str(fault), error="Metadata store unavailable") from fault

    return serve


def _to_leader(contender: Contender, request: Request) -> Response:
    url = contender.leader_url
    if url is None or url == contender.url:
        raise DruidHttpError(503, NO_LEADER, error="No leader")
    path = request.scope["raw_path"].decode("ascii")
    query = request.url.query
    return RedirectResponse(f"{url}{path}?{query}" if query else f"{url}{path}", status_code=307)
