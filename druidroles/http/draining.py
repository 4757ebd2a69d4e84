"""Answering before the request's body has been read, as a refusal does.

hypercorn hands the body to the application through a short queue, and tells it of the end of the connection through the
same. Once the answer is complete it closes the connection of a client that is still sending; but if the queue is full
by then, it waits for ever for somebody to read from it, and the client, which is still sending, waits with it. So what
is left of the body is thrown away while the end of the answer is sent.
"""

from __future__ import annotations

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Draining:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through, except that the last piece of an answer is sent while the rest is drained."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reading = True

        async def watched_receive() -> Message:
            nonlocal reading
            message = await receive()
            reading = message["type"] == "http.request" and bool(message.get("more_body", False))
            return message

        async def drain() -> None:
            while reading:
                await watched_receive()

        async def draining_send(message: Message) -> None:
            if not reading or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                await send(message)
                nursery.cancel_scope.cancel(reason="the answer is complete")

        await self._app(scope, watched_receive, draining_send)
