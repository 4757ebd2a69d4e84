"""The least of HTTP/1.1 (RFC 9112) that health checks, scrapers and administrators need: one request a connection,
whose end is also the end of a body that has no length. A request's own body is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from coordserver.core.model.errors import WireError

HEAD_BYTES = 8192
Piece = str | bytes | None
"""A part of an answer; None: nothing yet, go on when woken."""

_END = b"\r\n\r\n"
_METHODS = ("GET", "HEAD", "POST")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@frozen
class Request:
    """A request's head. Names of headers are in lower case; of several of one name the last counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@frozen
class Response:
    """An answer. A body of pieces ends with the connection, one that is a text has its length said before."""

    status: int
    kind: str
    body: str | Iterator[str]
    headers: tuple[tuple[str, str], ...] = ()

    def pieces(self, *, with_body: bool) -> Iterator[str]:
        """Head and body, to be sent in this order."""
        fields = [("Content-Type", self.kind), *self.headers, ("Connection", "close")]
        if isinstance(self.body, str):
            fields.append(("Content-Length", str(len(self.body.encode()))))
        yield (
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in fields)
            + "\r\n"
        )
        if with_body:
            yield from (self.body,) if isinstance(self.body, str) else self.body


def text(status: int, line: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A short answer of one line."""
    return Response(status, TEXT, line + "\n", headers)


def parse(data: bytes | bytearray) -> Request | Response | None:
    """The request, once its head is complete; None before; what to answer where it is none of HTTP/1.

    Raises WireError for a head that is too long.
    """
    end = data.find(_END)
    if end < 0 and len(data) <= HEAD_BYTES:
        return None
    if not 0 <= end <= HEAD_BYTES:
        raise WireError(f"an HTTP head of more than {HEAD_BYTES} bytes")
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        return text(400, "bad request")
    if words[0] not in _METHODS:
        return text(405, "method not allowed", (("Allow", ", ".join(_METHODS)),))
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return text(400, "bad request")
        headers[name.lower()] = value.strip()
    try:
        target = urlsplit(words[1])
    except ValueError:
        return text(400, "bad request")
    if not target.path.startswith("/"):
        return text(400, "bad request")
    return Request(words[0], unquote(target.path), dict(parse_qsl(target.query)), headers)
