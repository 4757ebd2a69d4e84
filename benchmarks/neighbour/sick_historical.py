"""A Historical that announces a segment and answers badly, a process of its own.

    python -m neighbour.sick_historical COORD_PORT SICKNESS SEGMENT_FILE

`trickle`: a byte each 0.1 s, for ever. `endless`: small rows, for ever. `bomb`: gigabytes of spaces as a little gzip.
Its priority is above that of a Historical with the defaults, so that Brokers ask it first.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import trio

from coordserver.client import connect
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.paths import DruidPaths
from druidroles.lifeline import follow_parent
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata
from neighbour.speaking import say

PRIORITY = 1
BYTE_S = 0.1
BOMB_BYTES = 8_000_000_000
_SPACES = b" " * 10_000_000
_ROW = b'{"timestamp":"2013-01-01T00:00:00.000Z","result":{"n":1}},'


async def trickle() -> AsyncIterator[bytes]:
    """The beginning of an answer, and then a space at a time."""
    yield b"["
    while True:
        await trio.sleep(BYTE_S)
        yield b" "


async def endless() -> AsyncIterator[bytes]:
    """Rows, a thousand at a time."""
    yield b"["
    while True:
        yield _ROW * 1_000


async def bomb() -> AsyncIterator[bytes]:
    """One gzip stream whose blocks stand for themselves, so that one of them may be sent again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(_SPACES) + packer.flush(zlib.Z_FULL_FLUSH)
    yield gzip.compress(b"")[:10]
    for _ in range(BOMB_BYTES // len(_SPACES)):
        yield block


SICKNESSES = {"trickle": trickle, "endless": endless, "bomb": bomb}


async def answer(sickness: str, stream: trio.SocketStream) -> None:
    """Read what is asked, and answer until nobody listens."""
    async with stream:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                more = await stream.receive_some(65_536)
                if not more:
                    return
                head += more
            encoding = "Content-Encoding: gzip\r\n" if sickness == "bomb" else ""
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bTransfer-Encoding: chunked\r\n\r\n"
                % encoding.encode()
            )
            async for data in SICKNESSES[sickness]():  # noqa: ASYNC900
                await stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))
            await stream.send_all(b"0\r\n\r\n")
        except trio.BrokenResourceError:
            return


async def main(port: int, sickness: str, segment: DataSegment) -> None:
    """Announce and answer, for ever."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host_port = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    metadata = DruidServerMetadata(host_port, host=host_port, max_size=10**9, priority=PRIORITY)
    async with (
        connect(f"127.0.0.1:{port}", name="sick historical") as zk,
        announced_server(zk, DruidPaths(), metadata, [segment]),
    ):
        say(event="ready")
        await trio.serve_listeners(partial(answer, sickness), listeners)


if __name__ == "__main__":
    follow_parent()
    trio.run(main, int(sys.argv[1]), sys.argv[2], DataSegment.from_json(json.loads(Path(sys.argv[3]).read_text())))
