"""gzip on the way out for clients that ask for it, and on the way in for bodies that are sent so.

Both work in small steps with a checkpoint between them, because one thread serves everybody. What comes in is bounded
after it was unpacked: a few kilobytes can hold gigabytes.
"""

from __future__ import annotations

import zlib

import trio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from druidroles.http.errors import DruidHttpError

STEP_BYTES = 32 * 1024  # packed or unpacked without a checkpoint, in less than a millisecond
SHORT_BYTES = 512  # an answer up to this length goes as it is; packing would save nothing that counts
LEVEL = 1  # the fastest; higher levels take several times as long for a few per cent
_GZIP = 16 + zlib.MAX_WBITS
_CODINGS = frozenset({"gzip", "x-gzip"})
_WITHOUT_BODY = frozenset({204, 304})


class BadEncodingError(DruidHttpError):
    """A body that is not what its Content-Encoding says: 400."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message, error="Json parse failed")


def is_packed(content_encoding: str | None) -> bool:
    """Whether a request's body has to be unpacked; a 415 for what cannot be."""
    coding = (content_encoding or "identity").strip().lower()
    if coding in _CODINGS:
        return True
    if coding == "identity":
        return False
    raise DruidHttpError(
        415, f"Content-Encoding {coding[:40]!r} is not supported; there is gzip", error="Unsupported media type"
    )


async def unpack(data: bytes, limit: int) -> bytes:
    """A gzip body unpacked; DruidHttpError 413 if that has more than `limit` bytes, BadEncodingError if it is none."""
    unpacked = bytearray()
    member = zlib.decompressobj(_GZIP)
    try:
        while data:
            unpacked += member.decompress(data, STEP_BYTES)
            if len(unpacked) > limit:
                raise DruidHttpError(
                    413, f"the request body unpacks to more than the limit of {limit} bytes", error="Request too large"
                )
            await trio.lowlevel.checkpoint()
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data
                member = zlib.decompressobj(_GZIP) if data else member
    except zlib.error as fault:
        raise BadEncodingError(f"the request body is not gzip: {fault}") from None
    if not member.eof:
        raise BadEncodingError("the request body is not gzip, or ends too early")
    return bytes(unpacked)


class Compressing:
    """An ASGI application around another one, whose answers it packs where the client takes them so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through. What is short, has no body, or has a coding already, stays as it is."""
        if scope["type"] != "http" or scope["method"] == "HEAD" or not takes_gzip(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Packer(send).send)


def takes_gzip(headers: Headers) -> bool:
    """Whether a client says that it takes gzip (RFC 9110, §12.5.3)."""
    accepted: dict[str, float] = {}
    for part in ",".join(headers.getlist("accept-encoding")).lower().split(","):
        coding, _, parameter = part.partition(";")
        accepted[coding.strip()] = _weight(parameter)
    return accepted.get("gzip", accepted.get("x-gzip", accepted.get("*", 0.0))) > 0


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


class _Packer:
    """One answer. Its head is held back until the first piece of its body shows what it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self._pack: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        """For the application."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        data, more = message.get("body", b""), message.get("more_body", False)
        if self._head is not None:
            head, self._head = self._head, None
            if _is_worth_it(head, len(data), more):
                self._pack = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
            await self._send(head)
        if self._pack is None:
            await self._send(message)
            return
        await self._packed(self._pack, data, more)

    async def _packed(self, pack: zlib._Compress, data: bytes, more: bool) -> None:
        view = memoryview(data)
        for start in range(0, len(view), STEP_BYTES):
            piece = pack.compress(view[start : start + STEP_BYTES])
            if piece:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await trio.lowlevel.checkpoint()
        if not more:
            await self._send({"type": "http.response.body", "body": pack.flush(), "more_body": False})


def _is_worth_it(head: Message, first: int, more: bool) -> bool:
    """Whether to pack; the headers are changed if so."""
    headers = MutableHeaders(raw=list(head.get("headers", [])))
    head["headers"] = headers.raw
    length = headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    if head["status"] in _WITHOUT_BODY or head["status"] < 200 or "content-encoding" in headers:
        return False
    if (size if size is not None else SHORT_BYTES + 1 if more else first) <= SHORT_BYTES:
        return False
    del headers["content-length"]
    headers["content-encoding"] = "gzip"
    headers.add_vary_header("accept-encoding")
    return True
