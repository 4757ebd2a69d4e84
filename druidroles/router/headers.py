"""Which headers a proxy passes on (RFC 9110, §7.6.1): all but those that concern one connection only."""

from __future__ import annotations

from collections.abc import Iterable

from druidroles.http.epochs import EPOCH_HEADER

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The epoch is what a leader says to those it commands. From outside it is a mistake, or worse.
# The Host is another's behind the Router, so the Origin, which the Router has judged, would be foreign there.
_NOT_FORWARDED = frozenset({b"host", b"origin", b"expect", EPOCH_HEADER.lower().encode()})


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of a client's headers goes to the server behind."""
    passed = _end_to_end(headers, _NOT_FORWARDED)
    names = {name for name, _ in passed}
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        # Where both are given the chunks count, and a length that nobody checked is a way to smuggle.
        passed = [(name, value) for name, value in passed if name != b"content-length"]
    if b"accept-encoding" not in names:
        # Our HTTP client would ask for compression that the one in front cannot undo.
        passed.append((b"accept-encoding", b"identity"))
    return passed


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of the headers of the server behind goes to the client. The date is ours to give."""
    return _end_to_end(headers, frozenset({b"date", b"server"}))


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request with these headers has a body."""
    return any(
        name.lower() == b"transfer-encoding" or (name.lower() == b"content-length" and value.strip() != b"0")
        for name, value in headers
    )


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], but: frozenset[bytes]) -> Headers:
    lowered = [(name.lower(), value) for name, value in headers]
    named = {token.strip().lower() for name, value in lowered if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in HOP_BY_HOP | but | named]
