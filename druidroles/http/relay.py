"""Passing on what another process answers to a GET, chunk by chunk, so that its size does not matter."""

from __future__ import annotations

import httpx2
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from druidroles.http.errors import DruidHttpError, error_response
from druidroles.http.streaming import open_body

_PASSED_ON = ("content-type", "content-length")


class RelayedResponse(Response):
    """The answer of `url`, its status included; a 502 with Druid's error body where there is none."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        super().__init__()
        self._http = http
        self._url = url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, and send on. A peer that breaks off in the middle breaks this answer off too."""
        begun = False
        try:
            async with self._http.stream("GET", self._url, headers={"accept-encoding": "identity"}) as answer:
                headers = [(k.encode(), answer.headers[k].encode()) for k in _PASSED_ON if k in answer.headers]
                await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
                begun = True
                async with open_body(answer, raw=True) as chunks:
                    async for chunk in chunks:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except httpx2.HTTPError as fault:
            if begun:
                raise
            error = DruidHttpError(502, f"{self._url} does not answer: {fault!r}", error="Bad gateway")
            await error_response(error)(scope, receive, send)
