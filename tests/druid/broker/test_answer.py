"""A data server whose answer has no end, no pace or no measure: it counts as failed, and a replica answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
import trio
from trio.testing import MockClock

from druidroles.broker.answer import AnswerLimits
from druidroles.broker.data_server_client import Answer, ServerFailedError, ask
from druidroles.broker.fanout import FanOut
from druidroles.broker.view import BrokerView
from druidroles.coordination.changes import Revision
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata
from druidroles.query.errors import ResourceLimitError
from druidroles.query.model import parse_query

ROW = {"timestamp": "1970-01-01T00:00:00.000Z", "result": {"n": 1}}
GOOD = json.dumps([ROW]).encode()
SMALL = AnswerLimits(memory=1 << 20)
TAKEN: list[int] = []


class Pieces(httpx2.AsyncByteStream):
    """A body by a function of the number of the piece; None ends it. Each piece comes `every_s` after the last."""

    def __init__(self, piece: Callable[[int], bytes | None], every_s: float = 0.0) -> None:
        self._piece = piece
        self._every_s = every_s
        self._number = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.sleep(self._every_s)
        piece = self._piece(self._number)
        if piece is None:
            raise StopAsyncIteration
        self._number += 1
        TAKEN[-1] += len(piece)
        return piece

    async def aclose(self) -> None:
        """Nothing to close."""


def whole(body: bytes) -> Callable[[int], bytes | None]:
    return lambda number: body if number == 0 else None


def bomb() -> bytes:
    return gzip.compress(b'[{"a": "' + b"x" * (32 << 20) + b'"}]')


BAD: dict[str, Callable[[], httpx2.Response]] = {
    "one byte each 0.1 s": lambda: httpx2.Response(200, stream=Pieces(lambda n: b"[" if n == 0 else b" ", 0.1)),
    "silence after the head": lambda: httpx2.Response(200, stream=Pieces(lambda n: b"[", 1e9)),
    "an array that is cut short": lambda: httpx2.Response(200, stream=Pieces(whole(GOOD[:-1]))),
    "an error that stalls": lambda: httpx2.Response(500, stream=Pieces(lambda n: b"{", 1.0)),
    "small rows without end": lambda: httpx2.Response(
        200, stream=Pieces(lambda n: b"[" if n == 0 else b'{"a":1},' * 1000)
    ),
    "one row without end": lambda: httpx2.Response(
        200, stream=Pieces(lambda n: b'[{"events":[' if n == 0 else b'{"a":1},' * 1000)
    ),
    "a gzip bomb": lambda: httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=Pieces(whole(bomb()))),
    "gzip that is cut short": lambda: httpx2.Response(
        200, headers={"content-encoding": "gzip"}, stream=Pieces(whole(gzip.compress(GOOD)[:-9]))
    ),
    "an encoding that was not asked for": lambda: httpx2.Response(
        200, headers={"content-encoding": "br"}, stream=Pieces(whole(GOOD))
    ),
}


def transport(bad: Callable[[], httpx2.Response]) -> httpx2.MockTransport:
    """A bad server and a good one."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        TAKEN.append(0)
        return bad() if request.url.host == "bad" else httpx2.Response(200, stream=Pieces(whole(GOOD)))

    return httpx2.MockTransport(answer)


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_answer_is_given_up(autojump_clock: MockClock, name: str) -> None:
    async with httpx2.AsyncClient(transport=transport(BAD[name])) as http:
        with trio.fail_after(60), pytest.raises(ServerFailedError):
            await ask(http, "http://bad", {}, SMALL)
    assert TAKEN[-1] < 1 << 20


class Servers:
    """Two servers that hold the same segment; the bad one is preferred."""

    def __init__(self) -> None:
        self.servers = {
            f"{name}:1": DruidServerMetadata(f"{name}:1", host=f"{name}:1", priority=priority)
            for name, priority in (("bad", 9), ("good", 0))
        }
        self.revision = Revision()

    async def changed(self, seen: int | None = None) -> int:
        return await self.revision.passed(seen)


async def answered(bad: Callable[[], httpx2.Response], *, replica: bool = True) -> Answer:
    view, servers = BrokerView(), Servers()
    for name in list(servers.servers) if replica else ["bad:1"]:
        view.serve(name, DataSegment("d", Interval(0, 86_400_000), "1"))
    query = parse_query(
        {
            "queryType": "timeseries",
            "dataSource": "d",
            "intervals": [str(Interval(0, 86_400_000))],
            "granularity": "all",
            "aggregations": [{"type": "count", "name": "n"}],
        }
    )
    async with httpx2.AsyncClient(transport=transport(bad)) as http:
        fan_out = FanOut(http, view, servers, trio.lowlevel.checkpoint, limits=SMALL)
        with trio.fail_after(60):
            return await fan_out.answer(query)


@pytest.mark.parametrize("name", BAD)
async def test_the_replica_answers_instead(autojump_clock: MockClock, name: str) -> None:
    answer = await answered(BAD[name])
    assert (list(answer.results), answer.missing) == ([ROW], [])


async def test_an_answer_that_is_too_big_everywhere_is_the_querys_fault(autojump_clock: MockClock) -> None:
    with pytest.raises(ResourceLimitError, match="narrow the query"):
        await answered(BAD["small rows without end"], replica=False)


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 300_000])
async def test_gzip_is_unpacked_whole(autojump_clock: MockClock, size: int) -> None:
    rows = [{"v": "ab" * size}, {"n": size}]
    body = gzip.compress(json.dumps(rows).encode())
    for at_once in (1 << 20, 7):
        pieces = [body[at : at + at_once] for at in range(0, len(body), at_once)]
        response = httpx2.Response(
            200,
            headers={"content-encoding": "gzip"},
            stream=Pieces(lambda n, pieces=pieces: pieces[n] if n < len(pieces) else None),  # type: ignore[misc]
        )
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _, r=response: r)) as http:  # type: ignore[misc]
            TAKEN.append(0)
            assert (await ask(http, "http://x", {}, AnswerLimits(ratio=2000))).results == rows


async def test_a_pause_within_the_patience_is_borne(autojump_clock: MockClock) -> None:
    TAKEN.append(0)
    parts = [GOOD[:10], GOOD[10:]]
    stream = Pieces(lambda n: parts[n] if n < 2 else None, 7.0)
    async with httpx2.AsyncClient(
        transport=httpx2.MockTransport(lambda _: httpx2.Response(200, stream=stream))
    ) as http:
        limits = AnswerLimits(stall_s=30)
        assert (await ask(http, "http://x", {}, limits)).results == [ROW]
