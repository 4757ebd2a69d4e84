"""One request to one data server, and what its answer means.

Three outcomes: an answer, perhaps with pieces that the server does not have; a refusal of the query itself, which any
other server would repeat, and which goes to the client as it came; a server that failed, whose pieces another may have.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import httpx2
import trio

from druidroles.broker.answer import ENCODINGS, AnswerBody, AnswerLimits, AnswerStalledError, AnswerTooBigError
from druidroles.broker.json_array import JsonArrayDecoder
from druidroles.http.client import CONNECT_TIMEOUT_S
from druidroles.http.streaming import open_body
from druidroles.model.decode import as_object, get_list
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.errors import QueryError, ResourceLimitError, SegmentMissingError
from druidroles.query.merge import Result

RESPONSE_CONTEXT = "X-Druid-Response-Context"
ERROR_BYTES_MAX = 1 << 20
POOL_TIMEOUT_S = 30.0
# A query ends by its own timeout, so there is none for reading.
_TIMEOUT = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S, pool=POOL_TIMEOUT_S)
_HEADERS = {"accept-encoding": ENCODINGS}
_SEGMENTS_MISSING = SegmentMissingError("").error_class


class ServerFailedError(Exception):
    """A server did not answer the query; another may. `blame`: it should be passed over for a moment.

    `refusal` is the error that it answered with, if it did.
    """

    def __init__(self, message: str, *, blame: bool = True, refusal: QueryError | None = None) -> None:
        super().__init__(message)
        self.blame = blame
        self.refusal = refusal


@attrs.frozen
class Answer:
    """A server's whole answer. `missing` are the pieces that it is without."""

    results: Sequence[Result]
    missing: Sequence[SegmentDescriptor] = ()


async def ask(
    http: httpx2.AsyncClient, url: str, body: Mapping[str, Any], limits: AnswerLimits | None = None
) -> Answer:
    """Send a query to a data server. Raises ServerFailedError; QueryError where the query is refused."""
    limits = limits or AnswerLimits()
    try:
        async with http.stream("POST", f"{url}/druid/v2", json=body, headers=_HEADERS, timeout=_TIMEOUT) as response:
            if response.status_code != httpx2.codes.OK:
                raise await _refusal(response, limits)
            return Answer(await _results(response, limits), _missing(response.headers.get(RESPONSE_CONTEXT)))
    except httpx2.PoolTimeout:
        raise ServerFailedError("all connections are busy", blame=False) from None
    except httpx2.HTTPError as fault:
        raise ServerFailedError(str(fault) or type(fault).__name__) from fault
    except AnswerStalledError as fault:
        raise ServerFailedError(str(fault)) from None
    except AnswerTooBigError as fault:
        # The replica's may be smaller. If it is not, the query is too big.
        raise ServerFailedError(
            str(fault), blame=False, refusal=ResourceLimitError(f"{fault}; narrow the query")
        ) from None
    except (ValueError, RecursionError) as fault:  # ModelError and JSON's errors are ValueErrors
        raise ServerFailedError(f"its answer makes no sense: {fault}") from fault


async def _results(response: httpx2.Response, limits: AnswerLimits) -> list[Result]:
    decoder = JsonArrayDecoder()
    results: list[Result] = []

    async def take(data: bytes) -> bool:
        results.extend(decoder.feed(data))
        await trio.lowlevel.checkpoint()
        return True

    await _read(response, limits, take)
    results.extend(decoder.feed(b"", final=True))
    return results


async def _read(response: httpx2.Response, limits: AnswerLimits, take: Callable[[bytes], Awaitable[bool]]) -> None:
    """Give the body to `take`, unpacked and piece by piece, while it returns True and the limits hold."""
    body = AnswerBody(limits, response.headers.get("content-encoding", "").strip().lower())
    async with open_body(response, raw=True) as pieces:
        while True:
            began = trio.current_time()
            data: bytes | None = b""
            with trio.move_on_after(body.patience_s) as patience:
                data = await anext(pieces, None)
            body.waited(trio.current_time() - began)
            if patience.cancelled_caught:
                raise body.stalled()
            if data is None:
                break
            for piece in body.take(data):
                if not await take(piece):
                    return
    body.end()


def _missing(header: str | None) -> list[SegmentDescriptor]:
    if header is None:
        return []
    context = as_object(json.loads(header), RESPONSE_CONTEXT)
    return [
        SegmentDescriptor.from_json(as_object(item, "missingSegments")) for item in get_list(context, "missingSegments")
    ]


async def _refusal(response: httpx2.Response, limits: AnswerLimits) -> QueryError | ServerFailedError:
    """What an answer that is none says."""
    error = _druid_error(response.status_code, await _read_some(response, limits))
    message = f"HTTP status {response.status_code}: {error.message}"
    if response.status_code == 429 or error.error_class == _SEGMENTS_MISSING:
        return ServerFailedError(message, blame=False, refusal=error if response.status_code == 429 else None)
    if response.status_code in (400, 403, 413, 501, 504):
        return error
    return ServerFailedError(message, refusal=error if response.status_code == 500 else None)


async def _read_some(response: httpx2.Response, limits: AnswerLimits) -> bytes:
    body = bytearray()

    async def take(data: bytes) -> bool:
        body.extend(data)
        return len(body) <= ERROR_BYTES_MAX

    await _read(response, limits, take)
    return bytes(body)


def _druid_error(status: int, body: bytes) -> QueryError:
    """Druid's error body as the error that makes it again."""
    try:
        fields = as_object(json.loads(body), "error")
    except (ValueError, RecursionError):
        fields = {}

    def text(key: str) -> str | None:
        value = fields.get(key)
        return value if isinstance(value, str) else None

    return QueryError(
        status,
        text("errorMessage") or "no reason given",
        error=text("error") or "Unknown exception",
        error_class=text("errorClass"),
        host=text("host"),
    )
