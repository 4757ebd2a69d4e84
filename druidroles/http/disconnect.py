"""Noticing that the client has gone, so that nobody works for an answer that nobody reads."""

from __future__ import annotations

import trio
from starlette.requests import Request


async def cancel_when_gone(request: Request, scope: trio.CancelScope) -> None:
    """Cancel when the client has closed its connection. To be run beside the work, once the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the client has gone")
