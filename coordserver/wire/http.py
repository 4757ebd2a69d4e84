"""The least of HTTP/1.1 that health checks and scrapers need: GET and HEAD of three paths, one request a connection."""

from __future__ import annotations

from coordserver.core.errors import WireError
from coordserver.wire.facts import ServerFacts

HEAD_BYTES = 8192
_END = b"\r\n\r\n"


def answer(request: bytes | bytearray, facts: ServerFacts) -> bytes | None:
    """The response to a request once its head is complete; None before. Raises WireError for one that is too long."""
    end = request.find(_END)
    if end < 0:
        if len(request) > HEAD_BYTES:
            raise WireError(f"an HTTP head of more than {HEAD_BYTES} bytes")
        return None
    words = bytes(request[:end]).split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or words[0] not in (b"GET", b"HEAD") or not words[2].startswith(b"HTTP/1."):
        return _response(400, "text/plain", b"bad request\n", with_body=True)
    status, kind, body = _resource(words[1].split(b"?", 1)[0], facts)
    return _response(status, kind, body, with_body=words[0] == b"GET")


def _resource(path: bytes, facts: ServerFacts) -> tuple[int, str, bytes]:
    match path:
        case b"/livez":
            return 200, "text/plain", b"ok\n"
        case b"/readyz":
            return (200, "text/plain", b"ok\n") if facts.serving else (503, "text/plain", b"not serving\n")
        case b"/metrics":
            return 200, "text/plain; version=0.0.4", _metrics(facts).encode()
    return 404, "text/plain", b"not found\n"


def _metrics(facts: ServerFacts) -> str:
    return "".join(f"{key} {value}\n" for key, value in facts.monitored())


_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}


def _response(status: int, kind: str, body: bytes, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
