"""A refusal reaches a client that is still sending, and the connection ends."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from http_servers import serve_http
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from druidroles.http.body import read_bytes
from druidroles.http.errors import DruidHttpError

CHUNK = b"10000\r\n" + b"0" * 65536 + b"\r\n"


async def refuse(request: Request) -> Response:
    """Read a little, then refuse; if asked to, not before every queue is full of the rest."""
    if request.url.path == "/late":
        await request.receive()
        await trio.testing.wait_all_tasks_blocked(0.05)
        raise DruidHttpError(413, "enough")
    return JSONResponse(len(await read_bytes(request, limit=100_000)))


async def send_for_ever(stream: trio.SocketStream, path: str) -> None:
    """A body that does not end before the connection does."""
    try:
        await stream.send_all(b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % path.encode())
        while True:
            await stream.send_all(CHUNK)
    except trio.BrokenResourceError:
        pass


@pytest.mark.parametrize("path", ["/", "/late"])
async def test_a_refusal_in_the_middle_of_a_body(path: str) -> None:
    """Whether or not the rest of the body has filled every queue by then."""
    async with serve_http([Route("/{late:path}", refuse, methods=["POST"])]) as served:
        host, _, port = served.host_port.rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        received = b""
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(send_for_ever, stream, path)
            try:
                async for data in stream:
                    received += data
            except trio.BrokenResourceError:
                pass  # the rest of what we sent met a closed socket
    assert received.startswith(b"HTTP/1.1 413")


async def test_a_body_that_was_read_is_followed_by_the_next_request() -> None:
    """The connection lives on."""
    async with serve_http([Route("/{late:path}", refuse, methods=["POST"])]) as served:
        host, _, port = served.host_port.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            for _ in range(2):
                await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc")
                received = b""
                while not received.endswith(b"\r\n\r\n3"):
                    received += await stream.receive_some()
                assert received.startswith(b"HTTP/1.1 200")
