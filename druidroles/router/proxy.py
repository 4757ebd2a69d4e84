"""Passing one request on to another process, and its answer back, both as streams.

What fails before the answer has begun may be tried elsewhere; after that there is nothing left but to break off, which
the client sees, because the answer's length or its last chunk is missing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import httpx2
import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from druidroles.http.body import BODY_BYTES_MAX
from druidroles.http.client import CONNECT_TIMEOUT_S
from druidroles.http.compression import is_packed, unpack
from druidroles.http.disconnect import cancel_when_gone
from druidroles.http.errors import DruidHttpError
from druidroles.http.streaming import open_body
from druidroles.router.body import PassingBody
from druidroles.router.headers import has_body, request_headers, response_headers
from druidroles.router.paths import refuse_abnormal

log = logging.getLogger(__name__)

POOL_TIMEOUT_S = 10.0
GONE_GRACE_S = 3.0  # for a server that took back its announcement to finish what it was asked


@attrs.frozen
class Target:
    """Where a request may go. `gone` returns once the process there has left the tree."""

    url: str
    gone: Callable[[], Awaitable[None]]


class UnreachableError(Exception):
    """No answer came. `sent`: the request may have been taken in all the same."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Exchange:
    """One client's request, which may be sent to one target after another until one answers."""

    def __init__(self, http: httpx2.AsyncClient, request: Request, path: bytes, read_timeout_s: float) -> None:
        """`path` is the raw path to ask for there; the query string goes with it. DruidHttpError: it is not normal."""
        refuse_abnormal(path)
        self._http = http
        self._request = request
        self.path = path
        self._target = path + (b"?" + request.scope["query_string"] if request.scope["query_string"] else b"")
        self._headers = request_headers(request.headers.raw)
        self._body = PassingBody(request) if has_body(request.headers.raw) else None
        self._timeout = httpx2.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S, pool=POOL_TIMEOUT_S)

    @property
    def replayable(self) -> bool:
        """Whether it can be sent once more."""
        return self._body is None or self._body.replayable

    async def peek(self) -> bytes | None:
        """The body, unpacked, if there is one and it is small enough to be looked at; None if it cannot be read."""
        body = None if self._body is None else await self._body.peek()
        try:
            packed = body is not None and is_packed(self._request.headers.get("content-encoding"))
            return await unpack(body, BODY_BYTES_MAX) if packed and body else body
        except DruidHttpError:
            return None  # whoever answers says what is wrong with it

    @asynccontextmanager
    async def sent_to(self, target: Target) -> AsyncIterator[httpx2.Response]:
        """The answer of a target. Raises UnreachableError where none comes."""
        url = httpx2.URL(target.url).copy_with(raw_path=self._target)
        # Not made by the client, which would add headers of its own and the cookies of others.
        outgoing = httpx2.Request(
            self._request.method,
            url,
            headers=self._headers,
            content=self._body,
            extensions={"timeout": self._timeout.as_dict()},
        )
        response = await self._answer_to(outgoing, target)
        try:
            yield response
        finally:
            with trio.move_on_after(1, shield=True):
                await response.aclose()

    async def wait_client_gone(self, scope: trio.CancelScope) -> None:
        """Cancel when the client goes away. Until the body has arrived whole, whoever passes it on notices."""
        if self._body is not None:
            await self._body.complete.wait()
        await cancel_when_gone(self._request, scope)

    async def _answer_to(self, outgoing: httpx2.Request, target: Target) -> httpx2.Response:
        outcome: httpx2.Response | Exception = UnreachableError(f"{target.url} went away", sent=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_give_up_when_gone, target, nursery.cancel_scope)
            try:
                outcome = await self._http.send(outgoing, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as fault:
                outcome = UnreachableError(f"{target.url}: {fault or type(fault).__name__}", sent=False)
            except httpx2.HTTPError as fault:
                outcome = UnreachableError(f"{target.url}: {fault or type(fault).__name__}", sent=True)
            except (DruidHttpError, ClientDisconnect) as fault:
                outcome = fault  # from the body; raised outside of the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel(reason="there is an answer")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def _give_up_when_gone(target: Target, scope: trio.CancelScope) -> None:
    """A process that hangs answers nothing and refuses nothing; but its session ends, and its announcement."""
    await target.gone()
    await trio.sleep(GONE_GRACE_S)
    scope.cancel(reason="the target has gone")


Run = Callable[[Exchange, Send], Awaitable[None]]


class Proxied(Response):
    """A response that is made while it is sent: `run` finds somebody to answer and passes the answer on."""

    def __init__(self, exchange: Exchange, run: Run) -> None:
        super().__init__()
        self._exchange = exchange
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application. Given up when the client goes away."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._exchange.wait_client_gone, nursery.cancel_scope)
            try:
                await self._run(self._exchange, send)
            except ClientDisconnect:
                pass
            except (DruidHttpError, BrokenAnswerError) as fault:
                failure = fault  # raised outside of the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel(reason="the answer has been passed on")
        if failure is not None:
            raise failure


class BrokenAnswerError(Exception):
    """The answer broke off in the middle; so must ours."""


async def pass_on(response: httpx2.Response, send: Send) -> None:
    """Send an answer to the client, as it comes."""
    headers = response_headers(response.headers.raw)
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    try:
        async with open_body(response, raw=True) as pieces:
            async for data in pieces:
                await send({"type": "http.response.body", "body": data, "more_body": True})
    except httpx2.HTTPError as fault:
        raise BrokenAnswerError(f"{response.url.netloc.decode()} broke off its answer: {fault!r}") from fault
    await send({"type": "http.response.body", "body": b"", "more_body": False})
