"""HTTP resources that only the leading Coordinator serves. Other Coordinators redirect to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from coordserver.client import TransactionFailedError
from druidroles.coordinator.term import CoordinatorTerm
from druidroles.http.errors import DruidHttpError
from druidroles.leadership.redirect import LeaderState, redirect_to_leader
from druidroles.metadata import MetadataError, StaleEpochError
from druidroles.model.decode import ModelError


class CoordinatorState(LeaderState, Protocol):
    """A Coordinator, as far as its HTTP resources need it."""

    @property
    def leading(self) -> CoordinatorTerm | None:
        """The term in which this process leads, or None."""


OnLeader = Callable[[Request, CoordinatorTerm], Awaitable[Response]]


def on_leader(contender: CoordinatorState, handle: OnLeader) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a resource so that only the leader serves it, and only after it has read the whole cluster."""

    async def serve(request: Request) -> Response:
        leading = contender.leading
        if leading is None:
            return redirect_to_leader("Coordinator", contender, request)
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
