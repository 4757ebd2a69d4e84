"""Reading a JSON request body with a limit and errors that name what is wrong."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from starlette.requests import Request

from druidroles.http.compression import is_packed, unpack
from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import ModelError, parse_json

BODY_BYTES_MAX = 16 << 20  # Druid's task payloads reach a few MB; a query with a large IN list likewise


async def read_bytes(request: Request, limit: int = BODY_BYTES_MAX) -> bytes:
    """The whole body, unpacked where it is gzip, or a 413 that names the limit."""
    packed = is_packed(request.headers.get("content-encoding"))
    declared = request.headers.get("content-length", "")
    body = bytearray()
    if not declared.isdigit() or int(declared) <= limit:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > limit:
                    break
            else:
                return await unpack(bytes(body), limit) if packed else bytes(body)
    raise DruidHttpError(413, f"the request body is over the limit of {limit} bytes", error="Request too large")


async def read_json(request: Request, limit: int = BODY_BYTES_MAX) -> Any:
    """The body as JSON, or a 400 that says where it is malformed."""
    body = await read_bytes(request, limit)
    try:
        return parse_json(body)
    except ModelError as fault:
        raise DruidHttpError(400, f"the request body is {fault}", error="Json parse failed") from None


async def read_json_object(request: Request, limit: int = BODY_BYTES_MAX) -> dict[str, Any]:
    """The body as a JSON object, or a 400."""
    value = await read_json(request, limit)
    if not isinstance(value, dict):
        raise DruidHttpError(400, f"the request body must be a JSON object, not {type(value).__name__}")
    return value
