"""A body whose reading ends early leaves nothing behind. (Warnings are errors here; that is the test.)"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
import trio.testing
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from druidroles.http.app import make_app
from druidroles.http.serve import HttpServer
from druidroles.http.streaming import open_body


class Endless:
    """Chunks without end."""

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"x" * 65536


async def endless(request: Request) -> Response:
    """A body that never ends."""
    return StreamingResponse(Endless())


@asynccontextmanager
async def streaming() -> AsyncIterator[httpx2.Response]:
    """The response of a server that never stops sending."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = HttpServer(make_app([Route("/", endless)]), listeners)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
    async with trio.open_nursery() as nursery, httpx2.AsyncClient() as client:
        await nursery.start(server.run)
        async with client.stream("GET", url) as response:
            yield response
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("raw", [False, True])
async def test_a_loop_may_be_left_by_break(raw: bool) -> None:
    """The commonest way out."""
    async with streaming() as response, open_body(response, raw=raw) as pieces:
        async for piece in pieces:
            assert piece
            break


async def stumble(response: httpx2.Response) -> None:
    """Raise while reading."""
    async with open_body(response) as pieces:
        async for _ in pieces:
            raise ZeroDivisionError


async def test_a_loop_may_be_left_by_an_error_and_it_comes_out_bare() -> None:
    """What the loop raises is what the caller sees."""
    async with streaming() as response:
        with pytest.raises(ZeroDivisionError):
            await stumble(response)


async def test_a_loop_may_be_left_by_a_cancellation_in_its_body() -> None:
    """Not within the generator, where it would unwind by itself."""
    async with streaming() as response:
        with trio.CancelScope() as scope:
            async with open_body(response) as pieces:
                async for _ in pieces:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
