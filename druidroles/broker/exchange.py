"""One request to one data server, and what its answer means.

Three outcomes: an answer, perhaps with pieces that the server does not have; a refusal of the query itself, which any
other server would repeat, and which goes to the client as it came; a server that failed, whose pieces another may have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import httpx2
import trio

from druidroles.broker.json_array import JsonArrayDecoder
from druidroles.http.client import CONNECT_TIMEOUT_S
from druidroles.http.streaming import open_body
from druidroles.model.decode import as_object, get_list
from druidroles.model.segment import SegmentDescriptor
from druidroles.query.errors import QueryError, ResourceLimitError, SegmentMissingError
from druidroles.query.merge import Result

RESPONSE_CONTEXT = "X-Druid-Response-Context"
ANSWER_BYTES_MAX = 256 << 20  # of one server for one query; Druid's maxScatterGatherBytes has the same purpose
ERROR_BYTES_MAX = 1 << 20
POOL_TIMEOUT_S = 30.0
# A query ends by its own timeout, so there is none for reading.
_TIMEOUT = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S, pool=POOL_TIMEOUT_S)
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


async def ask(http: httpx2.AsyncClient, url: str, body: Mapping[str, Any]) -> Answer:
    """Send a query to a data server. Raises ServerFailedError; QueryError where the query is refused."""
    try:
        async with http.stream("POST", f"{url}/druid/v2", json=body, timeout=_TIMEOUT) as response:
            if response.status_code != httpx2.codes.OK:
                raise await _refusal(response)
            return Answer(await _results(response), _missing(response.headers.get(RESPONSE_CONTEXT)))
    except httpx2.PoolTimeout:
        raise ServerFailedError("all connections are busy", blame=False) from None
    except httpx2.HTTPError as fault:
        raise ServerFailedError(str(fault) or type(fault).__name__) from fault
    except (ValueError, RecursionError) as fault:  # ModelError and JSON's errors are ValueErrors
        raise ServerFailedError(f"its answer makes no sense: {fault}") from fault


async def _results(response: httpx2.Response) -> list[Result]:
    decoder = JsonArrayDecoder()
    results: list[Result] = []
    taken = 0
    async with open_body(response) as pieces:
        async for data in pieces:
            taken += len(data)
            if taken > ANSWER_BYTES_MAX:
                raise ResourceLimitError(f"the answer of one server is over {ANSWER_BYTES_MAX} bytes; narrow the query")
            results.extend(decoder.feed(data))
            await trio.lowlevel.checkpoint()
    results.extend(decoder.feed(b"", final=True))
    return results


def _missing(header: str | None) -> list[SegmentDescriptor]:
    if header is None:
        return []
    context = as_object(json.loads(header), RESPONSE_CONTEXT)
    return [
        SegmentDescriptor.from_json(as_object(item, "missingSegments")) for item in get_list(context, "missingSegments")
    ]


async def _refusal(response: httpx2.Response) -> QueryError | ServerFailedError:
    """What an answer that is none says."""
    error = _druid_error(response.status_code, await _read_some(response))
    message = f"HTTP status {response.status_code}: {error.message}"
    if response.status_code == 429 or error.error_class == _SEGMENTS_MISSING:
        return ServerFailedError(message, blame=False, refusal=error if response.status_code == 429 else None)
    if response.status_code in (400, 403, 413, 501, 504):
        return error
    return ServerFailedError(message, refusal=error if response.status_code == 500 else None)


async def _read_some(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with open_body(response) as pieces:
        async for data in pieces:
            body += data
            if len(body) > ERROR_BYTES_MAX:
                break
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
