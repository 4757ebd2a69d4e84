"""gzip in both directions: what comes back is what went in, and nothing unpacks without a bound."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from druidroles.http.app import make_app
from druidroles.http.body import read_bytes
from druidroles.http.client import make_client
from druidroles.http.compression import SHORT_BYTES, STEP_BYTES, unpack

LIMIT = 1_000_000
LONG = json.dumps(list(range(50_000))).encode()
PACKED = gzip.compress(LONG)


class Pieces:
    """The long answer in pieces."""

    def __init__(self) -> None:
        self._left = [LONG[at : at + 70_000] for at in range(0, len(LONG), 70_000)]

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


async def echo(request: Request) -> Response:
    """What was sent."""
    return Response(await read_bytes(request, LIMIT), media_type="application/json")


async def long(request: Request) -> Response:
    """A long answer at once."""
    return Response(LONG, media_type="application/json")


async def streamed(request: Request) -> Response:
    """A long answer in pieces."""
    return StreamingResponse(Pieces(), media_type="application/json")


async def packed(request: Request) -> Response:
    """One that somebody else has packed."""
    return Response(PACKED, headers={"Content-Encoding": "gzip"}, media_type="application/json")


async def short(request: Request) -> Response:
    """As long as what is left as it is."""
    return Response(b"x" * SHORT_BYTES)


async def nothing(request: Request) -> Response:
    """No body."""
    return Response(status_code=204)


ROUTES: list[BaseRoute] = [
    Route("/echo", echo, methods=["POST"]),
    *(Route(f"/{answer.__name__}", answer) for answer in (long, streamed, packed, short, nothing)),
]


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the routes."""
    transport = httpx2.ASGITransport(make_app(ROUTES))
    async with httpx2.AsyncClient(transport=transport, base_url="http://role") as client:
        yield client


@pytest.mark.parametrize("path", ["/long", "/streamed", "/packed"])
@pytest.mark.parametrize("asked", ["gzip", "deflate, gzip;q=0.5", "*", "GZIP"])
async def test_a_long_answer_is_packed_once_for_who_takes_it(client: Any, path: str, asked: str) -> None:
    answer = await client.get(path, headers={"Accept-Encoding": asked})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == LONG
    assert path == "/packed" or answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("asked", ["identity", "", "br", "gzip;q=0", "*;q=0", "gzip;q=nonsense"])
async def test_who_does_not_take_it_gets_it_plain(client: Any, asked: str) -> None:
    for path in ("/long", "/streamed"):
        answer = await client.get(path, headers={"Accept-Encoding": asked})
        assert "content-encoding" not in answer.headers
        assert answer.content == LONG


async def test_what_is_short_or_has_no_body_stays_as_it_is(client: Any) -> None:
    for path, length in (("/short", SHORT_BYTES), ("/nothing", 0), ("/nowhere", None)):
        answer = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers
        assert length is None or len(answer.content) == length
    head = await client.head("/long", headers={"Accept-Encoding": "gzip"})
    assert head.headers["content-length"] == str(len(LONG))


async def test_the_roles_ask_one_another_for_plain_answers() -> None:
    async with make_client() as http:
        assert http.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP"])
async def test_a_packed_body_is_unpacked(client: Any, coding: str) -> None:
    for body in (PACKED, gzip.compress(LONG[:7]) + gzip.compress(LONG[7:])):
        answer = await client.post("/echo", content=body, headers={"Content-Encoding": coding})
        assert answer.content == LONG


@pytest.mark.parametrize(
    ("body", "coding", "status", "named"),
    [
        (LONG, "gzip", 400, "not gzip"),
        (PACKED[:-9], "gzip", 400, "ends too early"),
        (PACKED + b"rest", "gzip", 400, "not gzip"),
        (b"", "gzip", 400, "not gzip"),
        (zlib.compress(LONG), "deflate", 415, "'deflate' is not supported"),
        (LONG, "gzip, gzip", 415, "is not supported"),
        (gzip.compress(b" " * (LIMIT + 1)), "gzip", 413, f"limit of {LIMIT} bytes"),
        (gzip.compress(b" " * 50_000_000), "gzip", 413, f"limit of {LIMIT} bytes"),
    ],
)
async def test_a_body_that_cannot_be_unpacked_is_refused(
    client: Any, body: bytes, coding: str, status: int, named: str
) -> None:
    answer = await client.post("/echo", content=body, headers={"Content-Encoding": coding})
    assert answer.status_code == status
    assert named in answer.json()["errorMessage"]


async def test_unpacking_goes_on_in_small_steps() -> None:
    """Others get their turn meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert len(await unpack(gzip.compress(b" " * LIMIT), LIMIT)) == LIMIT
        nursery.cancel_scope.cancel(reason="unpacked")
    assert turns >= LIMIT // STEP_BYTES // 2
